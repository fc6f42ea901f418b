import math

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.fitting.holdout import holdout

BUDGETS = np.geomspace(1e18, 1e21, 4)


@pytest.mark.parametrize("approach", [Parametric(), IsoFLOP()])
def test_the_largest_budget_of_a_noise_free_law_is_predicted(approach):
    (largest,) = holdout(a_sweep(budgets=np.geomspace(1e18, 1e21, 5)), approach).budgets
    assert largest.budget == pytest.approx(1e21)
    assert abs(largest.num_params) < 0.02
    assert abs(largest.num_tokens) < 0.02
    assert abs(largest.loss) < 0.002


def test_a_largest_budget_that_breaks_the_law_shows_in_the_errors():
    broken = [
        a_run(
            r.num_params,
            r.num_tokens,
            r.loss * 1.05 if r.budget == 1e21 else r.loss,
            budget=r.budget,
        )
        for r in a_sweep(budgets=BUDGETS)
    ]
    (largest,) = holdout(broken, Parametric()).budgets
    assert largest.loss == pytest.approx(1 / 1.05 - 1, abs=0.002)


def test_two_budgets_can_be_held_out():
    found = holdout(a_sweep(budgets=BUDGETS), Parametric(), budgets=2)
    assert [held.budget for held in found.budgets] == [1e20, 1e21]
    assert found.largest_used == 1e19


def test_larger_runs_of_no_budget_are_held_out_too():
    large = a_run(1e11, 1e12, 9.0)
    assert holdout([*a_sweep(budgets=BUDGETS), large], Parametric()).largest_used == pytest.approx(
        1e20
    )


def test_a_held_out_budget_without_a_bracketed_minimum_has_nothing_to_compare_with():
    runs = [
        r
        for r in a_sweep(budgets=BUDGETS)
        if r.budget < 1e21 or r.num_params > LAW.optimum(1e21)[0]
    ]
    found = holdout(runs, Parametric())
    assert math.isnan(found.budgets[0].num_params)
    assert "no minimum to compare with" in str(found)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        (0, "budgets must be a whole number from 1 on, but got 0"),
        (3, "at least 2 budgets besides those held out, but got 4 budgets with 3"),
    ],
)
def test_holding_out_too_many_budgets_or_none_is_refused(budgets, message):
    with pytest.raises(DataError, match=message):
        holdout(a_sweep(budgets=BUDGETS), Parametric(), budgets=budgets)


def test_every_fit_with_four_budgets_carries_the_check_and_with_three_none():
    assert "budget 1e+21 (10x beyond the rest): params off by" in str(
        fit(a_sweep(budgets=BUDGETS), resamples=20)
    )
    assert fit(a_sweep(budgets=BUDGETS[:3]), resamples=20).holdout is None
