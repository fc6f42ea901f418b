"""Bootstrap, delta and profile intervals against each other and against what is known."""

import math

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.fitting.uncertainty import bootstrap_weights, leave_one_out_weights
from isoflop.laws.points import Points

BUDGETS = np.geomspace(1e18, 1e21, 5)
LEAST_SQUARES = Parametric(delta=math.inf)


def log_width(estimate):
    return math.log(estimate.high / estimate.low)


@pytest.fixture(scope="module")
def answers():
    runs = a_sweep(budgets=BUDGETS, sizes=10, noise=0.004, seed=5)
    return {
        name: predict(fit(runs, LEAST_SQUARES, intervals=name), flops=1e22)
        for name in ("bootstrap", "delta", "profile")
    }


@pytest.mark.parametrize("name", ["delta", "profile"])
@pytest.mark.parametrize("what", ["num_params", "num_tokens", "loss"])
def test_with_many_runs_and_gaussian_noise_the_three_kinds_of_interval_nearly_agree(
    answers, name, what
):
    ours, bootstrap = getattr(answers[name], what), getattr(answers["bootstrap"], what)
    assert ours.value == bootstrap.value
    assert log_width(ours) == pytest.approx(log_width(bootstrap), rel=0.3)


@pytest.mark.parametrize("approach", [LEAST_SQUARES, Parametric()])
@pytest.mark.parametrize("intervals", ["delta", "profile"])
def test_they_are_as_wide_as_what_is_found_scatters_around_the_truth(approach, intervals):
    found = [estimated(approach, intervals, seed) for seed in range(10)]
    errors = [
        2 * 1.645 * math.log(best.value / LAW.optimum(1e22)[0]) / log_width(best) for best in found
    ]
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("approach", [LEAST_SQUARES, Parametric()])
@pytest.mark.parametrize("intervals", ["delta", "profile"])
def test_they_cover_the_truth_of_a_clean_law_about_as_often_as_they_say(approach, intervals):
    found = [estimated(approach, intervals, seed) for seed in range(40)]
    assert 31 <= sum(best.low < LAW.optimum(1e22)[0] < best.high for best in found) <= 39


def estimated(approach, intervals, seed):
    runs = a_sweep(budgets=BUDGETS, noise=0.004, seed=seed)
    found = fit(runs, approach, resamples=200, intervals=intervals)
    return predict(found, flops=1e22).num_params


def test_the_ends_of_a_profile_interval_are_laws_that_the_likelihood_ratio_just_allows(answers):
    runs = a_sweep(budgets=BUDGETS, sizes=10, noise=0.004, seed=5)
    low = math.log(answers["profile"].num_params.low)
    points = Points.of(runs)
    lowest = []
    for E in np.linspace(
        1.7, 1.9, 25
    ):  # the constrained minimum by brute force over what the end leaves open
        for alpha in np.linspace(0.3, 0.42, 25):
            rest = _rest(points, E, alpha)
            size = math.log(rest.law.optimum(1e22)[0])
            lowest.append((abs(size - low), rest.objective))
    fitted = fit(runs, LEAST_SQUARES, resamples=20).objective
    variance = 2 * fitted / (len(runs) - 5)
    assert min(value for away, value in lowest if away < 0.02) == pytest.approx(
        fitted + variance * 1.645**2 / 2, rel=0.05
    )


def _rest(points, E, alpha):
    from isoflop.laws.additive import ChinchillaLaw

    return Parametric(law=ChinchillaLaw(E=E, alpha=alpha), delta=math.inf).solve(points)


def test_rows_of_one_model_widen_the_intervals_of_the_delta_method_as_of_the_bootstrap():
    alone = a_sweep(budgets=BUDGETS, noise=0.01, seed=1)
    copies = [
        a_run(
            r.num_params,
            r.num_tokens * factor,
            float(LAW.loss(r.num_params, r.num_tokens * factor))
            * r.loss
            / float(LAW.loss(r.num_params, r.num_tokens)),
            group=str(number),
        )
        for number, r in enumerate(alone)
        for factor in (1.0, 1.01, 1.02)
    ]
    apart = [a_run(r.num_params, r.num_tokens, r.loss) for r in copies]
    for intervals in ("bootstrap", "delta"):
        together, separate = (
            predict(fit(runs, LEAST_SQUARES, intervals=intervals), flops=1e22).num_params
            for runs in (copies, apart)
        )
        assert log_width(together) > 1.4 * log_width(separate)


def test_bootstrap_weights_have_mean_one_the_variance_of_small_samples_and_move_clusters_together():
    runs = a_sweep()
    points = Points.of(
        [*runs, a_run(runs[0].num_params, runs[0].num_tokens, 3.0, budget=runs[0].budget)]
    )
    weights = bootstrap_weights(points, 5, 40_000, np.random.default_rng(0))
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(21 / (21 - 5), rel=0.03)
    assert (weights[:, 0] == weights[:, -1]).all()


def test_leaving_one_out_leaves_out_each_configuration_once():
    weights = leave_one_out_weights(Points.of(a_sweep()))
    assert (weights.sum(axis=0) == 20).all()
    assert (weights.sum(axis=1) == 20).all()


@pytest.mark.parametrize(
    ("approach", "intervals"),
    [(IsoFLOP(), "delta"), (IsoFLOP(), "profile"), (Kriging(), "bootstrap")],
)
def test_intervals_that_an_approach_does_not_have_are_refused(approach, intervals):
    with pytest.raises(
        DataError, match=f"this approach has no {intervals} intervals; leave intervals out"
    ):
        fit(a_sweep(), approach, intervals=intervals)


def test_unknown_intervals_are_refused_with_the_known_ones():
    with pytest.raises(
        DataError,
        match="intervals must be 'auto' or 'bootstrap' or 'delta' or 'profile', but got 'exact'",
    ):
        fit(a_sweep(), intervals="exact")
