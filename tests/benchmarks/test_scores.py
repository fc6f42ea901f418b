"""What the benchmarks of forecasts rest on: proper scores, families alike, and the baseline."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from isoflop.errors import DataError
from isoflop.laws.additive import ChinchillaLaw

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
BUDGETS = (1e18, 3e18, 1e19)
TARGET = 1e20


def runs():
    from tables import a_run

    return tuple(
        a_run(N, C / 6 / N, LAW.loss(N, C / 6 / N), C, budget=C)
        for C in BUDGETS
        for N in LAW.optimum(C)[0] * np.geomspace(0.25, 4, 7)
    )


def test_an_interval_that_misses_pays_twenty_times_the_miss_at_ninety_percent():
    from scores import interval_score

    assert interval_score(1.0, 2.0, 1.5) == pytest.approx(1.0)
    assert interval_score(1.0, 2.0, 2.1) == pytest.approx(3.0)
    assert interval_score(1.0, 2.0, 0.9) == pytest.approx(3.0)


def test_the_score_of_normal_draws_is_that_of_the_normal_distribution():
    from scores import crps

    draws = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for truth in (0.0, 0.7, -2.0):
        closed = truth * (2 * norm.cdf(truth) - 1) + 2 * norm.pdf(truth) - 1 / math.sqrt(math.pi)
        assert crps(draws, truth) == pytest.approx(closed, rel=1e-3)


def test_a_family_of_many_cases_weighs_as_one_of_few():
    from scores import average, middle

    families = ["many"] * 9 + ["few"]
    assert average([1.0] * 9 + [3.0], families) == pytest.approx(2.0)
    assert 1.0 < middle([1.0] * 9 + [3.0], families) < 3.0


def test_draws_that_are_not_numbers_are_left_out_of_a_score():
    from scores import score

    draws = np.linspace(-1, 1, 101)
    with_gaps = np.concatenate([draws, [math.nan, math.inf]])
    assert score(with_gaps, 0.3) == score(draws, 0.3)
    assert score(draws, 0.0).is_covered()
    assert not score(draws, 0.99).is_covered()


@pytest.mark.parametrize("name", ["line through minima", "default", "example"])
def test_a_method_finds_the_optimum_of_a_law_it_sees_without_noise(name):
    from example_method import forecast
    from methods import METHODS

    method = forecast if name == "example" else METHODS[name]
    found = method(runs(), TARGET)
    assert found.log_size == pytest.approx(math.log(LAW.optimum(TARGET)[0]), abs=0.12)


def test_the_baseline_refuses_a_single_budget():
    from baseline import log_sizes

    with pytest.raises(DataError, match="needs at least 2 minima, but got 1"):
        log_sizes([run for run in runs() if run.budget == BUDGETS[0]], TARGET)
