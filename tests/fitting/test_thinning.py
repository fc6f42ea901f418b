"""Tables of very many rows: the runs that stand for them give the law's answer, and nothing that matters is lost."""

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import MOST_RUNS
from isoflop.fitting.kriging.discrepancy import NEAR, Plane
from isoflop.fitting.kriging.exponents import restricted, restricted_alone
from isoflop.fitting.screening.thinning import thinned
from isoflop.laws.points import Points


def scattered(number, *, noise=0.004, seed=0, epochs=None):
    """Runs of the law anywhere between 1M and 10B params and 1 to 1,000 tokens per param."""
    random = np.random.default_rng(seed)
    N = 10 ** random.uniform(6, 10, number)
    D = N * 10 ** random.uniform(0, 3, number)
    L = LAW.loss(N, D) * np.exp(noise * random.standard_normal(number))
    return [a_run(*map(float, row), epochs=epochs) for row in zip(N, D, L, strict=True)]


def replicated(runs, times, *, noise=0.004):
    random = np.random.default_rng(1)
    factors = np.exp(noise * random.standard_normal((len(runs), times)))
    return [
        a_run(run.num_params, run.num_tokens, run.loss * float(factor), budget=run.budget)
        for run, row in zip(runs, factors, strict=True)
        for factor in row
    ]


def test_two_thousand_runs_each_count_for_themselves():
    points = Points.of(scattered(2000))

    assert thinned(points) == (points, ())


def test_scattered_runs_without_number_give_the_optimum_of_their_law():
    fitted = fit(scattered(20_000))
    low, high = np.quantile(fitted.resamples.optimum(1e24)[0], [0.05, 0.95])

    assert len(fitted.runs) <= MOST_RUNS
    assert fitted.law.optimum(1e24)[0] == pytest.approx(LAW.optimum(1e24)[0], rel=0.05)
    assert low < LAW.optimum(1e24)[0] < high < 1.1 * low
    assert any("runs represent all of them" in note for note in fitted.notes)


def test_of_replicates_the_middle_one_stands_for_its_configuration():
    sweep = a_sweep(budgets=(1e18, 1e19, 1e20, 1e21), sizes=25)
    points, (note,) = thinned(Points.of(replicated(sweep, 25)))
    middle = np.array(
        [np.log(run.loss / LAW.loss(run.num_params, run.num_tokens)) for run in points.runs]
    )

    assert len(points) == len(sweep)
    assert middle.std() < 0.004 / 3
    assert "the same params and tokens" in note


def test_spoilt_runs_do_not_stand_for_their_neighbours():
    runs = replicated(a_sweep(budgets=(1e18, 1e19, 1e20, 1e21), sizes=25), 25)
    runs[::25] = [
        a_run(run.num_params, run.num_tokens, 1.5 * run.loss, budget=run.budget)
        for run in runs[::25]
    ]

    assert fit(runs).law.optimum(1e23)[0] == pytest.approx(LAW.optimum(1e23)[0], rel=0.02)


def test_every_budget_keeps_its_smallest_and_its_largest_size():
    runs = replicated(a_sweep(budgets=np.geomspace(1e17, 1e21, 20), sizes=60), 2)
    points, _ = thinned(Points.of(runs))

    for budget in points.budgets:
        given = [run.num_params for run in runs if run.budget == budget]
        kept = points.N[points.budget == budget]
        assert kept.min() < 1.5 * min(given)
        assert kept.max() > max(given) / 1.5


def test_repeated_data_never_stands_for_fresh_data():
    points, _ = thinned(Points.of([*scattered(1500), *scattered(1500, epochs=8.0)]))

    assert 0.3 < np.mean(points.unique < points.D) < 0.7


def test_independent_errors_need_no_matrix():
    plane = Plane.of(Points.of(scattered(40)))
    noise, axis = plane.loss * NEAR.multiplier(plane), np.log(np.linspace(0.2, 0.6, 5))
    one = restricted_alone(noise, plane.x, plane.y, plane.loss, axis)
    same = restricted(
        np.diag(1 / noise)[None], plane.x, plane.y, plane.loss, axis[None], axis[None]
    )

    np.testing.assert_allclose(one.log_likelihood, same.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(one.amplitudes, same.amplitudes, rtol=1e-6)
