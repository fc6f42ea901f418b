"""Laws beside Chinchilla's, priors, and systems that share exponents."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar, nnls
from sweeps import LAW, a_run, a_sweep

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.fitting.solve.nonnegative import nonnegative_amplitudes
from isoflop.fitting.systems import fit_systems
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.other_laws import DataConstrainedLaw, OvertrainingLaw

BUDGETS = np.geomspace(1e18, 1e21, 5)
NUMBERS = ("E", "A", "B", "alpha", "beta")


def numbers(law):
    return [float(getattr(law, name)) for name in NUMBERS]


def test_the_overtraining_law_is_recovered_and_trains_a_fixed_ratio():
    true = OvertrainingLaw(1.8, 480.0, 900.0, 0.3)
    law = fit(a_sweep(true), Parametric(law=OvertrainingLaw()), resamples=20).law
    assert (law.E, law.A, law.B, law.alpha) == pytest.approx((1.8, 480.0, 900.0, 0.3), rel=1e-4)
    ratios = [D / N for N, D in (law.optimum(C) for C in (1e18, 1e22))]
    assert ratios[0] == pytest.approx(ratios[1])
    assert law.optimal_loss(1e20) == pytest.approx(true.loss(*true.optimum(1e20)))


def test_the_overtraining_law_fits_all_its_numbers():
    with pytest.raises(DataError, match="OvertrainingLaw: no number can be held"):
        fit(a_sweep(), Parametric(law=OvertrainingLaw(E=1.8)))


def a_repeated_sweep(law, unique):
    """Runs on so many distinct tokens, which those that need more repeat."""
    runs = []
    for budget in BUDGETS:
        for N in LAW.optimum(budget)[0] * np.geomspace(0.25, 4, 9):
            D = budget / (6 * N)
            runs.append(
                a_run(N, D, float(law.loss(N, D)), budget=budget, epochs=max(D / unique, 1.0))
            )
    return runs


def test_a_law_of_repeated_data_is_recovered_from_runs_with_epochs():
    true = DataConstrainedLaw(1.8, 480.0, 2100.0, 0.35, 0.37, unique=3e9)
    law = fit(
        a_repeated_sweep(true, 3e9), Parametric(law=DataConstrainedLaw(unique=3e9)), resamples=20
    ).law
    assert numbers(law) == pytest.approx(numbers(true), rel=1e-4)


def test_repeated_tokens_are_worth_less_and_never_more_than_their_limit():
    law = DataConstrainedLaw(1.8, 480.0, 2100.0, 0.35, 0.37, unique=1e10)
    free = law.chinchilla
    assert law.loss(1e8, 1e10) == pytest.approx(free.loss(1e8, 1e10))
    assert law.loss(1e8, 4e10) > free.loss(1e8, 4e10)
    assert law.loss(1e8, 1e15) == pytest.approx(free.loss(1e8, 1e10 * (1 + 15.39)), rel=1e-6)


def test_with_little_data_the_optimum_is_the_lowest_loss_that_the_compute_pays_for():
    law = DataConstrainedLaw(1.8, 480.0, 2100.0, 0.35, 0.37, unique=1e9)
    N, D = law.optimum(1e21)
    found = minimize_scalar(
        lambda x: law.loss(np.exp(x), 1e21 / (6 * np.exp(x))), bounds=(15, 30), method="bounded"
    )
    assert np.log(N) == pytest.approx(found.x, abs=1e-3)
    assert law.optimal_loss(1e21) > law.chinchilla.optimal_loss(1e21)
    assert pytest.approx(1e21) == 6 * N * D


def test_a_fitted_law_of_repeated_data_answers_predict():
    found = fit(
        a_repeated_sweep(LAW, math.inf),
        Parametric(law=DataConstrainedLaw(unique=1e10)),
        resamples=50,
    )
    best = predict(found, flops=1e23)
    assert best.loss.value > LAW.optimal_loss(1e23)
    assert best.band[0] < best.num_params.value < best.band[1]


def test_a_firm_prior_holds_a_number_and_a_loose_one_leaves_it():
    runs = a_sweep(noise=0.005, seed=2)
    free = fit(runs, Parametric(), resamples=20).law
    firm = fit(runs, Parametric(prior={"E": (1.5, 1e-6)}), resamples=20).law
    loose = fit(runs, Parametric(prior={"E": (1.5, 1e3)}), resamples=20).law
    assert pytest.approx(1.5, abs=1e-4) == firm.E
    assert pytest.approx(free.E, abs=1e-3) == loose.E


def test_a_prior_narrows_the_intervals_and_draws_its_number_near():
    runs, known = a_sweep(noise=0.01, seed=2), {"alpha": (0.35, 0.02), "beta": (0.37, 0.02)}
    free, held = (fit(runs, Parametric(prior=prior), resamples=200) for prior in ({}, known))
    widths = [np.std(np.log(found.resamples.optimum(1e22)[0])) for found in (free, held)]
    assert widths[1] < 0.7 * widths[0]
    assert abs(held.law.alpha - 0.35) < abs(free.law.alpha - 0.35)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"A": (400.0, 1.0)}, r"prior must give E, alpha or beta .* but got A=\(400.0, 1.0\)"),
        ({"E": (1.7, 0.0)}, r"a standard deviation above 0, but got E=\(1.7, 0.0\)"),
        (
            {"gamma": (1.0, 1.0)},
            r"prior must name fitted numbers of ChinchillaLaw\(\), but got gamma",
        ),
    ],
)
def test_an_impossible_prior_is_refused(prior, message):
    with pytest.raises(DataError, match=message):
        fit(a_sweep(), Parametric(prior=prior))


def test_systems_share_exponents_and_keep_amplitudes():
    other = ChinchillaLaw(E=1.7, A=300.0, B=2600.0, alpha=0.35, beta=0.37)
    third = ChinchillaLaw(E=2.0, A=900.0, B=1500.0, alpha=0.35, beta=0.37)
    true = {"first": LAW, "second": other, "third": third}
    found = fit_systems({name: a_sweep(law) for name, law in true.items()}, resamples=20)
    for name, law in true.items():
        assert numbers(found[name].law) == pytest.approx(numbers(law), rel=1e-4)
    assert predict(found["second"], flops=1e22).num_params.value == pytest.approx(
        other.optimum(1e22)[0], rel=1e-3
    )


def test_shared_exponents_bring_a_small_system_nearer_to_the_truth():
    large = a_sweep(budgets=BUDGETS, sizes=9, noise=0.005, seed=99)
    errors = []
    for seed in range(12):
        small = a_sweep(noise=0.005, seed=seed)
        alone, together = (
            fit(small, Parametric(), resamples=20),
            fit_systems({"a": small, "b": large}, resamples=20)["a"],
        )
        errors.append(
            [
                abs(np.log(each.law.optimum(1e23)[0] / LAW.optimum(1e23)[0]))
                for each in (alone, together)
            ]
        )
    alone, together = np.mean(errors, axis=0)
    assert together < 0.7 * alone


def test_one_system_is_refused():
    with pytest.raises(
        DataError, match=r"fit_systems needs at least 2 systems, but got 1; use fit\(\) for one"
    ):
        fit_systems({"only": a_sweep()})


def test_amplitudes_of_systems_that_share_no_point_are_solved_apart():
    random = np.random.default_rng(0)
    values, target = np.zeros((5, 6, 20)), random.standard_normal(20)
    values[:, :3, :10], values[:, 3:, 10:] = random.random((5, 3, 10)), random.random((5, 3, 10))
    ours = nonnegative_amplitudes(values, target, np.ones(20))
    for row in range(5):
        assert ours[row] == pytest.approx(nnls(values[row].T, target)[0], abs=1e-9)
