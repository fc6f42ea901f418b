import pytest

import isoflop
from isoflop.training.executors.simulated import Simulated
from tasks import mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
BUDGETS = [1e7, 1e8]


def off(factor):
    """A law whose optimum has that many times the params."""
    return lambda N, D: float(LAW.loss(N / factor, D * factor))


def train(sweep, loss):
    store = isoflop.MemoryStore()
    return isoflop.train(mlp_task(), sweep, store=store, executor=Simulated(loss), progress=False)


def sizes(specs, budget):
    return sorted(spec.num_params for spec in specs if spec.budget == budget)


@pytest.fixture(scope="module", params=[1 / 100, 100.0])
def extended(request):
    """A grid whose minima lie beyond an edge, and the plan that repairs it."""
    first = isoflop.plan(mlp_task(), budgets=BUDGETS)
    runs = train(first, off(request.param))
    return request.param, first, isoflop.plan(mlp_task(), budgets=BUDGETS, runs=runs)


def test_a_budget_with_its_minimum_at_the_edge_gets_sizes_beyond_that_edge(extended):
    factor, first, second = extended
    before, after = sizes(first.specs, 1e8), sizes(second.specs, 1e8)
    new = [N for N in after if N not in before]
    assert 1 <= len(new) <= 3
    assert min(new) > before[-1] if factor > 1 else max(new) < before[0]
    assert any("has its lowest loss at the edge: sizes beyond it are added" in note for note in second.notes)


def test_a_repaired_budget_keeps_the_runs_that_it_has(extended):
    _, first, second = extended
    assert {spec.id for spec in first.specs} < {spec.id for spec in second.specs}


def test_a_budget_whose_minimum_is_inside_is_asked_for_again_as_it_is():
    first = isoflop.plan(mlp_task(), budgets=BUDGETS)
    runs = train(first, LAW.loss)
    again = isoflop.plan(mlp_task(), budgets=BUDGETS, runs=runs)
    assert {spec.id for spec in again.specs} == {spec.id for spec in first.specs}
    assert not any("at the edge" in note for note in again.notes)


def test_new_budgets_keep_the_runs_of_the_old_ones_and_are_centred_on_them():
    first = isoflop.plan(mlp_task(), budgets=BUDGETS)
    more = isoflop.plan(mlp_task(), budgets=[*BUDGETS, 1e9], runs=train(first, LAW.loss))
    assert {spec.id for spec in first.specs} == {spec.id for spec in more.specs if spec.budget in BUDGETS}
    new = sizes(more.specs, 1e9)
    assert new[0] < float(LAW.optimum(1e9)[0]) < new[-1]
    assert new[-1] / new[0] == pytest.approx(16, rel=0.2)


def test_runs_of_another_task_are_no_part_of_a_grid():
    runs = train(isoflop.plan(mlp_task(), budgets=BUDGETS), LAW.loss)
    other = mlp_task(model_kwargs={"num_inputs": 8})
    specs = isoflop.plan(other, budgets=BUDGETS, runs=runs).specs
    assert {spec.id for spec in specs}.isdisjoint({run.id for run in runs})


@pytest.mark.parametrize("changes", [{"lr": 0.01}, {"clip": 0.5}])
def test_runs_of_another_recipe_are_no_part_of_a_grid(changes):
    runs = train(isoflop.plan(mlp_task(), budgets=BUDGETS), LAW.loss)
    other = mlp_task(recipe=isoflop.Recipe(epochs=None, **changes))
    specs = isoflop.plan(other, budgets=BUDGETS, runs=runs).specs
    assert {spec.id for spec in specs}.isdisjoint({run.id for run in runs})


def test_another_seed_keeps_the_runs_of_the_first_and_adds_its_own():
    first = isoflop.plan(mlp_task(), budgets=BUDGETS)
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(0, 1)))
    both = isoflop.plan(task, budgets=BUDGETS, runs=train(first, LAW.loss))
    assert {spec.id for spec in first.specs} < {spec.id for spec in both.specs}
    assert {(spec.budget, spec.size, 1) for spec in first.specs} < {
        (spec.budget, spec.size, spec.seed) for spec in both.specs
    }


def test_the_middle_size_of_the_cheapest_budget_has_three_seeds_to_measure_the_noise():
    sweep = isoflop.plan(mlp_task(), budgets=BUDGETS)
    cheapest = [spec for spec in sweep.specs if spec.budget == min(BUDGETS)]
    sizes = sorted({spec.size for spec in cheapest})
    repeated = [spec for spec in sweep.specs if spec.seed]
    assert {(spec.budget, spec.size) for spec in repeated} == {(min(BUDGETS), sizes[len(sizes) // 2])}
    assert sorted(spec.seed for spec in repeated) == [1, 2]
    assert any(f"Size {repeated[0].size} at" in note and "measure the noise" in note for note in sweep.notes)


def test_repeats_are_made_once_for_a_store_that_grows_downwards():
    runs = train(isoflop.plan(mlp_task(), budgets=BUDGETS), LAW.loss)
    specs = isoflop.plan(mlp_task(), budgets=[min(BUDGETS) / 4, *BUDGETS], runs=runs).specs
    assert {spec.id for spec in specs if spec.seed} == {run.id for run in runs if run.spec.seed}


def test_a_recipe_with_three_seeds_asks_for_no_more():
    sweep = isoflop.plan(mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(3, 4, 5))), budgets=BUDGETS)
    assert {spec.seed for spec in sweep.specs} == {3, 4, 5}
