from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from staged import LADDER, LAW, SPEND, TARGET, TRUE_N, made, swept

from isoflop.planning.earlier_runs import paid
from isoflop.planning.sequential import ENDS, LARGEST_SHARE, MIN_JUDGES, known_of, next_stage

ask = partial(next_stage, ladder=LADDER, target=TARGET, spend=SPEND)
ask_on = partial(ask, stop=False)


@pytest.fixture(scope="module")
def whole():
    """A sweep that uses its spend."""
    return swept(ask_on)


def test_the_same_runs_ask_for_the_same_stage_in_any_order_of_asking(whole):
    runs, _ = whole
    later = ask_on(runs[:12])
    assert ask_on([]) == ask_on([])
    assert ask_on(runs[:12]) == later


def test_the_first_stage_is_three_sizes_of_one_budget_around_twenty_tokens_per_param():
    stage = ask([])
    ratios = sorted(place.num_tokens / place.num_params for place in stage.places)
    assert ratios == pytest.approx([20 / 16, 20, 20 * 16], rel=0.35)
    assert {place.budget for place in stage.places} == {ENDS[0] * SPEND / 3}


@pytest.mark.parametrize("off", [0.1, 10.0])
def test_the_pilot_recentres_where_its_guess_is_ten_times_off(off):
    guess = partial(ask, tokens_per_param=20 * off)
    first = made(guess([]).places)
    budget = ENDS[0] * SPEND / 3
    best = float(LAW.optimum(budget)[0])
    second = guess(first)
    now = float(LAW.optimum(second.places[0].budget)[0])

    def distance(stage, optimum):
        sizes = sorted(place.num_params for place in stage.places)
        return abs(np.log(sizes[1] / optimum))

    assert second.name == "the pilot, recentred"
    assert distance(second, now) < 0.5 * distance(guess([]), best)


def test_a_sweep_ends_when_its_spend_is_used_and_says_so(whole):
    runs, last = whole
    spent = sum(paid(run) for run in runs)
    assert 0.75 * SPEND < spent <= SPEND * (1 + 1e-9)
    assert last.name.endswith("of the spend is used")
    assert 12 <= len(runs) <= 30


def test_no_run_takes_more_than_its_share_of_the_spend(whole):
    runs, _ = whole
    assert max(run.flops for run in runs) <= 1.25 * LARGEST_SHARE * SPEND


def test_a_sweep_ends_early_when_the_next_stage_would_cost_more_than_it_saves():
    runs, last = swept(ask)
    assert sum(paid(run) for run in runs) < 0.5 * SPEND
    assert "to save about" in last.name


@pytest.mark.parametrize("seed", range(12))
def test_no_sweep_ends_early_on_the_word_of_its_pilot(seed):
    runs, _ = swept(partial(ask, tokens_per_param=2.0), seed)
    assert len(runs) >= MIN_JUDGES


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_runs_that_ended_early_count_at_their_planned_flops(status):
    runs, planned = [], 0.0
    for _ in range(50):
        stage = ask_on(runs)
        if stage.finished:
            break
        planned += sum(place.flops for place in stage.places)
        runs += made(stage.places[:-1])
        runs += made(stage.places[-1:], status=status)
    assert stage.finished
    assert len([run for run in runs if run.status == status]) >= 4
    assert sum(paid(run) for run in runs) == pytest.approx(planned)
    assert planned <= SPEND * (1 + 1e-9)


def test_a_sweep_whose_runs_all_fail_ends():
    runs = []
    for _ in range(10):
        stage = ask_on(runs)
        if stage.finished:
            break
        runs += made(stage.places, status="failed")
    assert stage.finished
    assert stage.name == "no run completed, so that nothing is known of the optimum"
    assert sum(paid(run) for run in runs) <= 0.1 * SPEND


def test_a_run_that_was_tried_again_and_again_costs_what_it_spent():
    run = made(ask([]).places, status="failed")[0]
    assert paid(run) == run.spec.flops
    assert paid(replace(run, flops=3 * run.spec.flops)) == 3 * run.spec.flops


def test_no_place_needs_more_tokens_than_there_are():
    free = max(run.num_tokens for run in swept(ask_on)[0])
    bound = replace(LADDER, most_tokens=free / 8)
    runs, _ = swept(partial(next_stage, ladder=bound, target=TARGET, spend=SPEND, stop=False))
    assert len(runs) >= MIN_JUDGES
    assert max(run.num_tokens for run in runs) <= free / 8


def test_a_sweep_that_ends_for_lack_of_data_says_so(whole):
    last = ask_on(whole[0][:12], ladder=replace(LADDER, most_tokens=1e6))
    assert last.finished
    assert (
        last.name == "the data and the passes over them give 1.00M tokens, too few for stage 4 of 5"
    )


def test_no_place_is_planned_twice(whole):
    runs, _ = whole
    assert len({(run.num_params, run.num_tokens) for run in runs}) == len(runs)


def test_stages_go_on_from_runs_that_were_trained_elsewhere():
    sizes = [(budget, factor) for budget in (1e17, 3e17, 1e18) for factor in (0.4, 1.0, 2.5)]
    places = [
        LADDER.near(float(LAW.optimum(budget)[0]) * factor, budget) for budget, factor in sizes
    ]
    elsewhere = made(places)
    stage = ask_on(elsewhere)
    spent = sum(paid(run) for run in elsewhere)
    assert len(stage.places) >= 4
    assert spent + sum(place.flops for place in stage.places) <= SPEND


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("off", [0.1, 1.0, 10.0])
def test_a_sweep_finds_the_optimum_a_hundred_times_beyond_its_spend_though_its_guess_is_ten_times_off(
    off, stop
):
    ratios = []
    for seed in range(2):
        runs, _ = swept(partial(ask, tokens_per_param=20 * off, stop=stop), seed)
        ratios.append(known_of(runs, LADDER, TARGET).best[0] / TRUE_N)
    assert max(np.abs(np.log(ratios))) < np.log(1.5)


def test_what_a_stage_would_cost_is_that_of_all_seeds():
    runs = made(next_stage([], LADDER, target=TARGET, spend=1e22).places)
    while not (stage := next_stage(runs, LADDER, target=TARGET, spend=1e22, seeds=1000)).finished:
        runs += made(stage.places)
    cost = float(stage.name.split("would cost ")[1].split()[0])
    again = next_stage(runs, LADDER, target=TARGET, spend=1e22, stop=False)
    assert cost == pytest.approx(1000 * sum(place.flops for place in again.places), rel=0.01)
