import math
from dataclasses import replace
from functools import cache

import pytest

import isoflop
from isoflop.training.executors.simulated import Simulated
from tasks import examples, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
BUDGETS = [1e7, 1e8]


def off(factor):
    """A law whose optimum has that many times the params."""
    return lambda N, D: float(LAW.loss(N / factor, D * factor))


def train(sweep, loss):
    store = isoflop.MemoryStore()
    return isoflop.train(mlp_task(), sweep, store=store, executor=Simulated(loss), progress=False)


@cache
def first_grid():
    return isoflop.plan(mlp_task(), budgets=BUDGETS)


@cache
def first_runs():
    return train(first_grid(), LAW.loss)


def falling(N, D):
    return 1 + N**-0.1 + D**-0.01


def rising(N, D):
    return 1 + N**0.1 + D**-0.01


def fail(runs, failed):
    """The runs, those for which `failed` holds as failed ones."""
    changes = {
        "status": "failed",
        "loss": math.nan,
        "num_tokens": 0,
        "flops": 0.0,
        "error": "RuntimeError",
    }
    return [replace(run, **changes) if failed(run) else run for run in runs]


def sizes(specs, budget):
    return sorted(spec.num_params for spec in specs if spec.budget == budget)


@pytest.fixture(scope="module", params=[1 / 100, 100.0])
def extended(request):
    """A grid whose minima lie beyond an edge, and the plan that repairs it."""
    first = first_grid()
    runs = train(first, off(request.param))
    return request.param, first, isoflop.plan(mlp_task(), budgets=BUDGETS, runs=runs)


def test_a_budget_with_its_minimum_at_the_edge_gets_sizes_beyond_that_edge(extended):
    factor, first, second = extended
    before, after = sizes(first.specs, 1e8), sizes(second.specs, 1e8)
    new = [N for N in after if N not in before]
    assert 1 <= len(new) <= 3
    assert min(new) > before[-1] if factor > 1 else max(new) < before[0]
    assert any(
        "has its lowest loss at the edge: sizes beyond it are added" in note
        for note in second.notes
    )


def test_a_repaired_budget_keeps_the_runs_that_it_has(extended):
    _, first, second = extended
    assert {spec.id for spec in first.specs} < {spec.id for spec in second.specs}


def test_a_budget_whose_minimum_is_inside_is_asked_for_again_as_it_is():
    first = first_grid()
    runs = first_runs()
    again = isoflop.plan(mlp_task(), budgets=BUDGETS, runs=runs)
    assert {spec.id for spec in again.specs} == {spec.id for spec in first.specs}
    assert not any("at the edge" in note for note in again.notes)


def test_new_budgets_keep_the_runs_of_the_old_ones_and_are_centred_on_them():
    first = first_grid()
    more = isoflop.plan(mlp_task(), budgets=[*BUDGETS, 1e9], runs=first_runs())
    assert {spec.id for spec in first.specs} == {
        spec.id for spec in more.specs if spec.budget in BUDGETS
    }
    new = sizes(more.specs, 1e9)
    assert new[0] < float(LAW.optimum(1e9)[0]) < new[-1]
    assert new[-1] / new[0] == pytest.approx(16, rel=0.2)


def test_runs_of_another_task_are_no_part_of_a_grid():
    runs = first_runs()
    other = mlp_task(model_kwargs={"num_inputs": 8})
    specs = isoflop.plan(other, budgets=BUDGETS, runs=runs).specs
    assert {spec.id for spec in specs}.isdisjoint({run.id for run in runs})


@pytest.mark.parametrize("changes", [{"lr": 0.01}, {"clip": 0.5}])
def test_runs_of_another_recipe_are_no_part_of_a_grid(changes):
    runs = first_runs()
    other = mlp_task(recipe=isoflop.Recipe(epochs=None, **changes))
    specs = isoflop.plan(other, budgets=BUDGETS, runs=runs).specs
    assert {spec.id for spec in specs}.isdisjoint({run.id for run in runs})


def test_another_seed_keeps_the_runs_of_the_first_and_adds_its_own():
    first = first_grid()
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(0, 1)))
    both = isoflop.plan(task, budgets=BUDGETS, runs=first_runs())
    assert {spec.id for spec in first.specs} < {spec.id for spec in both.specs}
    assert {(spec.budget, spec.size, 1) for spec in first.specs} < {
        (spec.budget, spec.size, spec.seed) for spec in both.specs
    }


def test_the_middle_size_of_the_cheapest_budget_has_three_seeds_to_measure_the_noise():
    sweep = first_grid()
    cheapest = [spec for spec in sweep.specs if spec.budget == min(BUDGETS)]
    sizes = sorted({spec.size for spec in cheapest})
    repeated = [spec for spec in sweep.specs if spec.seed]
    assert {(spec.budget, spec.size) for spec in repeated} == {
        (min(BUDGETS), sizes[len(sizes) // 2])
    }
    assert sorted(spec.seed for spec in repeated) == [1, 2]
    assert any(
        f"Size {repeated[0].size} at" in note and "measure the noise" in note
        for note in sweep.notes
    )


def test_repeats_are_made_once_for_a_store_that_grows_downwards():
    runs = first_runs()
    specs = isoflop.plan(mlp_task(), budgets=[min(BUDGETS) / 4, *BUDGETS], runs=runs).specs
    assert {spec.id for spec in specs if spec.seed} == {run.id for run in runs if run.spec.seed}


def test_a_recipe_with_three_seeds_asks_for_no_more():
    sweep = isoflop.plan(
        mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(3, 4, 5))), budgets=BUDGETS
    )
    assert {spec.seed for spec in sweep.specs} == {3, 4, 5}


def test_sizes_beyond_the_edge_that_lack_data_are_dropped_with_a_note():
    budgets = [3e6, 1e7]
    largest = max(spec.num_tokens for spec in isoflop.plan(mlp_task(), budgets=budgets).specs)
    task = mlp_task(train_data=examples(largest), recipe=isoflop.Recipe())
    first = isoflop.plan(task, budgets=budgets)
    runs = isoflop.train(
        task, first, store=isoflop.MemoryStore(), executor=Simulated(rising), progress=False
    )
    second = isoflop.plan(task, budgets=budgets, runs=runs)
    assert sizes(second.specs, 1e7) == sizes(first.specs, 1e7)
    assert any(
        "are left out at budget 1e+07: the recipe's passes over the data give too" in n
        for n in second.notes
    )
    assert (
        "Budget 1e+07 has its lowest loss at the edge: no size beyond it can be added."
        in second.notes
    )


def test_sizes_beyond_the_edge_that_memory_does_not_hold_are_dropped_with_a_note(monkeypatch):
    first = first_grid()
    runs = train(first, falling)
    monkeypatch.setattr(
        "isoflop.planning.limits.device_bytes",
        lambda: 17 * max(spec.num_params for spec in first.specs),
    )
    second = isoflop.plan(mlp_task(), budgets=BUDGETS, runs=runs, hardware="here")
    assert {spec.num_params for spec in second.specs if spec.budget == 1e8} == set(
        sizes(first.specs, 1e8)
    )
    assert any("is left out: it needs" in note for note in second.notes)


@pytest.mark.parametrize(("named", "failed"), [([4, 8, 16, 32, 64, 128, 256], 256), (None, 211)])
def test_sizes_whose_run_failed_are_not_planned_again_and_specs_are_distinct(named, failed):
    task, budgets = mlp_task(sizes=named), [3e6, 1e7]
    first = isoflop.plan(task, budgets=budgets)
    runs = isoflop.train(
        task, first, store=isoflop.MemoryStore(), executor=Simulated(falling), progress=False
    )
    second = isoflop.plan(task, budgets=budgets, runs=fail(runs, lambda run: run.size == failed))
    assert len({spec.id for spec in second.specs}) == len(second.specs)
    assert not {failed - 1, failed, failed + 1} & {spec.size for spec in second.specs}
    assert any("that failed" in note and "not planned again" in note for note in second.notes)


def test_new_budgets_leave_out_sizes_whose_run_failed():
    task = mlp_task(sizes=[4, 8, 16, 32, 64, 128, 256])
    first = isoflop.plan(task, budgets=[3e6, 1e7])
    runs = isoflop.train(
        task, first, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss), progress=False
    )
    new = isoflop.plan(task, budgets=[2e7], runs=fail(runs, lambda run: run.size == 32))
    assert 32 not in {spec.size for spec in new.specs}
    assert "Size 32 is left out at budget 2e+07: a run has failed." in new.notes


def test_a_new_budget_whose_sizes_have_failed_is_refused_with_the_remedy():
    task = mlp_task(sizes=[4, 8, 16])
    runs = isoflop.train(
        task,
        isoflop.plan(task, budgets=[3e6]),
        store=isoflop.MemoryStore(),
        executor=Simulated(LAW.loss),
        progress=False,
    )
    with pytest.raises(
        isoflop.PlanError, match="only 2 of 3 have not failed before; allow more sizes, or leave"
    ):
        isoflop.plan(task, budgets=[1e7], runs=fail(runs, lambda run: run.size == 8))


def test_where_every_run_failed_nothing_is_planned_and_the_note_says_why():
    runs = first_runs()
    sweep = isoflop.plan(mlp_task(), budgets=BUDGETS, runs=fail(runs, lambda run: True))
    assert sweep.specs == ()
    assert any("leave them out of runs= to try them again" in note for note in sweep.notes)


def test_too_few_completed_runs_for_a_law_fall_back_to_the_guess():
    budgets = [3e6, 1e7, 3e7]
    runs = train(isoflop.plan(mlp_task(), budgets=budgets), LAW.loss)
    kept = {run.budget: run.id for run in runs}.values()
    few = fail(runs, lambda run: run.id not in kept)
    new = isoflop.plan(mlp_task(), budgets=[1e8], runs=few)
    assert [spec.size for spec in new.specs] == [
        spec.size for spec in isoflop.plan(mlp_task(), budgets=[1e8]).specs if not spec.seed
    ]
    assert any("centred on a guess" in note for note in new.notes)
    assert isoflop.plan(mlp_task(), budgets=budgets, runs=few).specs


@pytest.mark.parametrize(
    ("named", "budget"), [([10000, 20000, 40000, 80000], 1e6), (None, 1e3), ([4, 5, 6], 1e4)]
)
def test_a_budget_whose_runs_would_all_have_too_few_steps_is_refused(named, budget):
    with pytest.raises(
        isoflop.PlanError, match="too small: of .* the required 20 steps of 0; raise"
    ):
        isoflop.plan(mlp_task(sizes=named), budgets=[budget, 1e7])


def test_single_sizes_with_few_steps_are_noted():
    sweep = isoflop.plan(mlp_task(), budgets=[1e5])
    assert 22 in {spec.size for spec in sweep.specs}
    assert any(
        note.startswith("Budget 1e+05: size 22 trains for fewer than 20 steps")
        for note in sweep.notes
    )


def test_a_size_that_costs_far_more_than_the_budget_in_whole_steps_is_left_out_with_a_note():
    sweep = isoflop.plan(mlp_task(sizes=[4, 8, 16, 20000]), budgets=[1e6])
    assert {spec.size for spec in sweep.specs} == {4, 8, 16}
    assert "Size 20000 is left out at budget 1e+06: a single step costs far more." in sweep.notes
