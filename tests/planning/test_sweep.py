import math

import numpy as np
import pytest

import isoflop
from isoflop.counting.counting import count_size
from isoflop.starts import STARTS
from isoflop.training.executors.simulated import Simulated
from tasks import BUDGETS, examples, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=BUDGETS)


def test_each_budget_has_seven_real_sizes(sweep):
    for budget in BUDGETS:
        sizes = [spec.size for spec in sweep.specs if spec.budget == budget]
        assert len(set(sizes)) == 7


def test_tokens_come_from_counted_flops_to_within_half_a_batch(sweep):
    task = mlp_task()
    for spec in sweep.specs:
        per_token = count_size(task, spec.size).flops_per_token
        assert (
            abs(spec.num_tokens - spec.budget / per_token)
            <= 0.5 * spec.batch * spec.tokens_per_example + 1
        )
        assert spec.flops == per_token * spec.num_tokens


def test_sizes_spread_over_eight_times_more_and_less_than_twenty_tokens_per_param(sweep):
    for budget in BUDGETS[2:]:
        specs = [spec for spec in sweep.specs if spec.budget == budget]
        centre = next(
            spec.num_params for spec in specs if 15 < spec.num_tokens / spec.num_params < 27
        )
        assert specs[0].num_params == pytest.approx(centre / 8, rel=0.15)
        assert specs[-1].num_params == pytest.approx(centre * 8, rel=0.15)


def test_learning_rate_and_batch_follow_the_recipe(sweep):
    for spec in sweep.specs:
        assert spec.lr == pytest.approx(STARTS["MLP"].rule(spec.num_params, spec.num_tokens))
        assert spec.batch == pytest.approx(max(2, 0.5 * math.sqrt(spec.num_tokens)), abs=1)


def test_the_same_question_gives_the_same_ids_and_nothing_measured_enters_them(sweep):
    again = isoflop.plan(mlp_task(), budgets=BUDGETS)
    assert [spec.id for spec in again.specs] == [spec.id for spec in sweep.specs]
    assert len({spec.id for spec in sweep.specs}) == len(sweep.specs)


def test_more_budgets_keep_the_runs_of_the_old_ones(sweep):
    more = isoflop.plan(mlp_task(), budgets=[*BUDGETS, 2e7])
    assert {spec.id for spec in sweep.specs} < {spec.id for spec in more.specs}


def test_seeds_replicate_every_cell():
    sweep = isoflop.plan(
        mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(0, 1, 2))), budgets=[1e6]
    )
    assert len(sweep.specs) == 21
    assert len({spec.id for spec in sweep.specs}) == 21


def test_the_sweep_prints_as_a_table_with_its_costs(sweep):
    lines = str(sweep).splitlines()
    assert lines[0].startswith("23 runs at 3 budgets: ")
    assert "on one worker of this machine" in lines[0]
    assert lines[1].split()[:4] == ["budget", "size", "params", "tokens"]
    assert len(lines) >= 2 + 23


def test_seconds_and_memory_are_predicted_for_each_run(sweep):
    assert all(
        sweep.seconds[spec.id] > 0 and sweep.memory_bytes[spec.id] > 0 for spec in sweep.specs
    )
    assert sweep.total_seconds == pytest.approx(sum(sweep.seconds.values()))


def test_too_little_data_for_one_pass_is_refused_with_the_runs_and_the_remedy():
    task = mlp_task(recipe=isoflop.Recipe())
    with pytest.raises(isoflop.PlanError) as caught:
        isoflop.plan(task, budgets=[3e6])
    message = str(caught.value)
    assert "allows 1.0 pass over 4.00k tokens" in message
    assert "size " in message
    assert "Recipe(epochs=None)" in message


def test_enough_data_for_one_pass_is_taken_and_epochs_are_recorded():
    task = mlp_task(recipe=isoflop.Recipe(), train_data=examples(60_000))
    sweep = isoflop.plan(task, budgets=[1e6])
    assert all(0 < spec.epochs <= 1 for spec in sweep.specs)


def test_more_than_four_passes_are_noted():
    assert any(
        "passes over the data" in note for note in isoflop.plan(mlp_task(), budgets=[1e7]).notes
    )


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "needs budgets="),
        ({"budgets": []}, "budgets must have at least one value"),
        ({"budgets": [-1e6]}, "must be FLOPs above 0"),
        ({"budgets": [1e6], "spend": 0.1}, "give one of them"),
        ({"target": 1e9}, "needs budgets="),
        ({"target": -1e9, "spend": 0.1}, "must be FLOPs above 0"),
    ],
)
def test_a_question_that_has_no_plan_is_refused(question, message):
    with pytest.raises(isoflop.PlanError, match=message):
        isoflop.plan(mlp_task(), **question)


def test_too_few_sizes_are_refused():
    with pytest.raises(isoflop.PlanError, match="needs at least 3 sizes, but 'width' has only 2"):
        isoflop.plan(mlp_task(sizes=[4, 8]), budgets=[1e6])


def test_sizes_that_do_not_reach_the_guessed_optimum_are_noted():
    sweep = isoflop.plan(mlp_task(sizes=[1, 2, 3, 4]), budgets=[1e7])
    assert any("no size on one side" in note for note in sweep.notes)


def test_a_target_begins_with_a_pilot_that_costs_a_hundredth_of_the_spend_at_most():
    sweep = isoflop.plan(mlp_task(), target=1e10, spend=0.01, design="sequential")
    assert 0 < sweep.flops <= 0.01 * 1e8
    assert len({spec.size for spec in sweep.specs}) == 3


def test_budgets_may_be_written_as_hours_and_an_assumed_mfu_is_noted():
    sweep = isoflop.plan(mlp_task(), budgets=["1e-9 T4-hours", "1e6"])
    flops = 1e-9 * 3600 * 0.38 * 65e12  # of a T4 in fp16
    assert sorted({spec.budget for spec in sweep.specs}) == pytest.approx([1e6, flops])
    assert any("38 % is assumed" in note for note in sweep.notes)


def test_the_same_question_in_words_and_numbers_gives_the_same_runs():
    words = isoflop.plan(mlp_task(), target="10 GFLOPs", spend="1%")
    numbers = isoflop.plan(mlp_task(), target=1e10, spend=0.01)
    assert [spec.id for spec in words.specs] == [spec.id for spec in numbers.specs]


def test_earlier_runs_centre_the_sizes_on_their_optimum_and_narrow_them():
    task = mlp_task()
    first = isoflop.plan(task, budgets=BUDGETS)
    runs = isoflop.train(
        task, first, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss), progress=False
    )
    second = isoflop.plan(task, budgets=[3e7], runs=runs)
    params = [spec.num_params for spec in second.specs]
    assert params[-1] / params[0] == pytest.approx(16, rel=0.2)
    assert any("earlier runs show" in note for note in second.notes)


def test_a_notebook_shows_a_sweep_as_a_table():
    sweep = isoflop.plan(mlp_task(), budgets=[1e6])
    shown = sweep._repr_html_()

    assert shown.startswith("<p><b>")
    assert shown.count("<tr>") == 1 + len(sweep)


def test_an_array_of_budgets_gives_the_runs_of_the_list(sweep):
    again = isoflop.plan(mlp_task(), budgets=np.array(BUDGETS))
    assert [spec.id for spec in again.specs] == [spec.id for spec in sweep.specs]


@pytest.mark.parametrize("runs", ["runs/store", isoflop.MemoryStore(), [{"loss": 2.0}], 3])
def test_runs_that_are_not_records_are_refused_with_the_remedy(runs):
    with pytest.raises(isoflop.PlanError, match=r"plan needs runs, but got .* isoflop\.read_runs"):
        isoflop.plan(mlp_task(), budgets=[1e6], runs=runs)


def test_a_staged_plan_notes_that_branches_are_for_grids():
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, branches=True, schedule="wsd"))
    sweep = isoflop.plan(task, target=1e10, spend=1e8)
    assert {spec.trunk for spec in sweep.specs} == {None}
    assert any("Recipe(branches=True) is for grids" in note for note in sweep.notes)
    plain = isoflop.plan(
        mlp_task(recipe=isoflop.Recipe(epochs=None, schedule="wsd")), target=1e10, spend=1e8
    )
    assert not any("branches" in note for note in plain.notes)
