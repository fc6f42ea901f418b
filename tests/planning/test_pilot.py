from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from staged import LADDER, LAW, SPEND, made, swept

from isoflop.planning.lean import lean_stage, pilot, recentred, repair

lean = partial(lean_stage, ladder=LADDER, spend=SPEND)


def curve(budget, factors):
    return made(LADDER.near(float(LAW.optimum(budget)[0]) * factor, budget) for factor in factors)


@pytest.fixture(scope="module")
def sweep():
    return swept(lean)


def test_a_lean_sweep_is_four_budgets_of_five_sizes_each_three_times_the_one_before(sweep):
    runs, last = sweep
    budgets = sorted({run.budget for run in runs})
    assert [budgets[k + 1] / budgets[k] for k in range(3)] == pytest.approx([3, 3, 3])
    for budget in budgets:
        assert len({run.num_params for run in runs if run.budget == budget}) == 5
    assert last.name == "all four budgets of the lean sweep are trained"


def test_a_lean_sweep_costs_its_spend(sweep):
    assert sum(run.flops for run in sweep[0]) == pytest.approx(SPEND)


@pytest.mark.parametrize("off", [0.1, 10.0])
def test_a_lean_sweep_recentres_on_what_its_budgets_show(off):
    runs, _ = swept(partial(lean, tokens_per_param=20 * off))
    budgets = sorted({run.budget for run in runs})
    middles = [
        np.median([run.num_params for run in runs if run.budget == budget]) for budget in budgets
    ]
    away = [
        abs(np.log(middle / LAW.optimum(budget)[0]))
        for middle, budget in zip(middles, budgets, strict=True)
    ]
    assert away[0] > 1.0
    assert away[-1] < 0.25


def test_a_lean_budget_whose_runs_failed_is_not_made_again():
    runs = made(lean([]).places, status="failed")
    stage = lean(runs)
    assert stage.name.startswith("budget 2 of 4")
    assert {place.budget for place in stage.places}.isdisjoint({run.budget for run in runs})


def test_a_lean_budget_of_which_less_than_half_is_trained_is_made_whole_first():
    first = lean([]).places
    again = lean(made(first[:2]))
    assert again.name.startswith("budget 1 of 4")
    assert again.places == first[2:]
    assert lean(made(first[:3])).name.startswith("budget 2 of 4")


def test_what_a_lean_sweep_has_not_spent_is_for_its_later_budgets():
    first = made(lean([]).places)
    second = made(lean(first).places)
    usual = lean([*first, *second]).places[0].budget
    cheap = [replace(run, flops=run.flops / 2) for run in second]
    assert lean([*first, *cheap]).places[0].budget > usual
    foreign = replace(second[0], spec=replace(second[0].spec, budget=None), flops=0.4 * SPEND)
    assert lean([*first, *second, foreign]).places[0].budget < usual
    assert lean([*first, *second, *[foreign] * 3]).name == "the spend is used"


def test_three_sizes_around_the_minimum_show_it_and_it_grows_with_the_root_of_the_budget():
    runs = curve(1e18, [0.3, 1.1, 3.5])
    here = recentred(runs, 1e18)
    assert here == pytest.approx(float(LAW.optimum(1e18)[0]), rel=0.3)
    assert recentred(runs, 4e18) == pytest.approx(2 * here)


@pytest.mark.parametrize("factors", [[2, 4, 8], [1 / 8, 1 / 4, 1 / 2]])
def test_a_minimum_just_beyond_the_edge_is_found_by_the_bend_of_the_runs_next_to_it(factors):
    runs = curve(1e18, factors)
    assert recentred(runs, 1e18) == pytest.approx(float(LAW.optimum(1e18)[0]), rel=0.35)


@pytest.mark.parametrize(("factors", "edge"), [([30, 60, 120], -1), ([1 / 120, 1 / 60, 1 / 30], 1)])
def test_a_minimum_far_beyond_the_edge_is_looked_for_at_twice_or_half_of_it(factors, edge):
    runs = curve(1e18, factors)
    best = min(runs, key=lambda run: run.loss).num_params
    assert np.log2(recentred(runs, 1e18) / best) == pytest.approx(edge)


def test_seeds_of_one_size_are_one_size():
    runs = curve(1e18, [2, 4, 8])
    again = [*runs, *curve(1e18, [2, 4, 8]), *curve(1e18, [2, 4, 8])]
    assert recentred(again, 1e18) == pytest.approx(recentred(runs, 1e18))


def test_one_run_shows_no_optimum():
    assert recentred(curve(1e18, [1.0]), 1e18) is None


def test_a_pilot_is_centred_on_its_guess_where_the_first_budget_has_failed():
    assert pilot(1, [], LADDER, 1e18, 20.0).name == "the pilot"


def test_sizes_that_need_more_data_than_there_are_have_no_place():
    most = replace(LADDER, most_tokens=5e9)
    assert len(pilot(0, [], LADDER, 1e18, 20.0).places) == 3
    assert all(place.num_tokens <= 5e9 for place in pilot(0, [], most, 1e18, 20.0).places)
    assert len(pilot(0, [], most, 1e18, 20.0).places) < 3


def test_a_repair_stays_within_what_is_left_and_three_times_the_largest_run():
    runs = curve(1e18, [0.5, 1.0, 2.0])
    poor, rich = repair(runs, LADDER, 1e18, 2), repair(runs, LADDER, 1e20, 2)
    assert sum(place.flops for place in poor.places) <= 1e18 * (1 + 1e-9)
    assert max(place.flops for place in rich.places) == pytest.approx(3e18)


def test_nothing_is_repaired_where_no_run_completed():
    assert repair([], LADDER, 1e18, 2).finished
