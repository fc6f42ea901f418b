"""Laws that are no sums of powers: recovered from their own losses, and on public runs."""

import numpy as np
import pytest
from as_people_have_them import a_table, public
from sweeps import LAW

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.nonlinear import Nonlinear
from isoflop.fitting.fit import fit
from isoflop.laws.curved_laws import FarseerLaw, OuterPowerLaw
from isoflop.storage.tables import read_runs

OUTER = OuterPowerLaw(E=1.7, A=900.0, B=4000.0, alpha=0.4, beta=0.43, k=0.8)
FARSEER = FarseerLaw(
    a1=-4.6,
    alpha=0.0215,
    b1=6.05,
    a2=127.0,
    beta=-0.151,
    b2=-0.854,
    a3=-0.767,
    gamma=0.0506,
    b3=1.387,
)


BUDGETS = (1e18, 6e18, 3e19, 2e20, 1e21)


def losses_of(law, budgets=BUDGETS, noise=0.0, sizes=9):
    table = a_table(budgets=budgets, sizes=sizes)
    random = np.random.default_rng(0)
    scatter = np.exp(noise * random.standard_normal(len(table)))
    return read_runs(table.assign(loss=law.loss(table.params, table.tokens) * scatter))


def test_the_outer_power_law_is_recovered():
    law = fit(losses_of(OUTER), Nonlinear(OuterPowerLaw()), resamples=20).law
    for C in (1e19, 1e22):
        assert law.optimum(C)[0] == pytest.approx(OUTER.optimum(C)[0], rel=1e-3)
        assert law.optimal_loss(C) == pytest.approx(OUTER.optimal_loss(C), rel=1e-4)
    assert law.k == pytest.approx(0.8, rel=0.02)


def test_chinchillas_law_has_the_outer_power_1():
    law = fit(losses_of(LAW), Nonlinear(OuterPowerLaw()), resamples=20).law
    assert law.k == pytest.approx(1.0, rel=0.02)
    assert law.optimum(1e22)[0] == pytest.approx(LAW.optimum(1e22)[0], rel=0.01)


def test_farseers_law_is_recovered():
    runs = losses_of(FARSEER, np.geomspace(1e18, 1e21, 8), sizes=11)
    law = fit(runs, Nonlinear(FarseerLaw()), resamples=20).law
    N, D = np.array([1e8, 1e9, 1e10]), np.array([1e10, 1e10, 1e11])
    assert law.loss(N, D) == pytest.approx(FARSEER.loss(N, D), rel=2e-3)


def test_the_interval_holds_the_true_size():
    runs = losses_of(OUTER, noise=0.002)
    best = predict(fit(runs, Nonlinear(OuterPowerLaw()), resamples=300), flops=1e22)
    assert best.num_params.low < OUTER.optimum(1e22)[0] < best.num_params.high
    assert best.num_params.high / best.num_params.low < 3


def test_a_law_whose_loss_falls_without_end_has_no_best_size():
    """The search for it runs into its end, thousands of times away, which is no optimum."""
    runs = losses_of(LAW, (1e18, 3e18, 1e19), noise=0.002, sizes=7)
    with pytest.raises(DataError, match="the FarseerLaw nearest to these 21 has none"):
        fit(runs, Nonlinear(FarseerLaw()), resamples=20)


def test_too_few_runs_are_refused():
    with pytest.raises(DataError, match="Nonlinear needs at least 12 runs .* to fit 9 numbers"):
        fit(losses_of(FARSEER, (1e18, 1e19), sizes=4), Nonlinear(FarseerLaw()))


def test_another_value_than_a_law_is_refused():
    with pytest.raises(DataError, match="Nonlinear: law must be a law such as FarseerLaw"):
        Nonlinear(LAW)


@pytest.mark.parametrize(("law", "most"), [(FarseerLaw(), 0.0105), (OuterPowerLaw(), 0.0075)])
def test_farseers_held_out_runs_are_predicted_within_one_percent(law, most):
    runs = read_runs(public("farseer.csv"))
    held = [run for run in runs if run.flops > 5.8e21]
    law = fit([run for run in runs if run.flops <= 5.8e21], Nonlinear(law), resamples=20).law
    errors = [float(law.loss(run.num_params, run.num_tokens)) / run.loss - 1 for run in held]
    assert len(held) == 7
    assert np.abs(errors).max() < most
