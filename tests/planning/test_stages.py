from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

import isoflop
from isoflop.counting import task_sizes
from isoflop.counting.counting import count_size
from isoflop.counting.sizes_of import sizes_of
from isoflop.planning import limits
from isoflop.planning.ladder import ladder_of
from isoflop.planning.limits import Room
from isoflop.planning.stage import FAR, OVER, _of_one_seed, stage_design
from isoflop.training.executors.simulated import Simulated
from tasks import MLP, examples, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)
TARGET, SPEND = 1e10, 1e9


class Fussy(MLP):
    """A network whose forward pass raises at some widths."""

    def forward(self, x):
        if 20 < self.hidden.out_features < 200:
            raise RuntimeError("widths from 20 to 200 have no kernel")
        return super().forward(x)


def plan(runs=(), task=None, **changes):
    asked = {"target": TARGET, "spend": SPEND, "design": "sequential", **changes}
    return isoflop.plan(task or mlp_task(), runs=runs, **asked)


def train(sweep, loss=LAW.loss, task=None):
    executor = Simulated(loss, noise=0.002)
    return isoflop.train(
        task or mlp_task(), sweep, store=isoflop.MemoryStore(), executor=executor, progress=False
    )


@cache
def pilot():
    """The runs of the first stage."""
    return train(plan())


def all_stages(**changes):
    runs, sweeps = [], []
    while not sweeps or sweeps[-1].specs:
        assert len(sweeps) < 12
        sweeps.append(plan(runs, **changes))
        runs += train(sweeps[-1]) if sweeps[-1].specs else []
    return sweeps, runs


@pytest.fixture(scope="module", params=["sequential", "lean"])
def swept(request):
    return all_stages(design=request.param)


def test_stages_are_planned_until_no_run_is_left_and_the_last_says_why(swept):
    sweeps, _ = swept
    assert len(sweeps) >= 4
    assert sweeps[-1].notes[0].startswith("The sweep is finished: ")
    assert str(sweeps[-1]).startswith("No runs to make")


def test_every_stage_asks_for_new_runs(swept):
    ids = [spec.id for sweep in swept[0] for spec in sweep.specs]
    assert len(set(ids)) == len(ids) >= 12


def test_all_stages_together_cost_no_more_than_the_spend(swept):
    assert sum(run.flops for run in swept[1]) <= OVER * SPEND


def test_each_stage_says_what_is_spent_after_it(swept):
    assert all(
        "are spent; what follows is chosen from what it shows" in sweep.notes[0]
        for sweep in swept[0][:-1]
    )


def test_the_runs_show_the_optimum_at_the_target(swept):
    answer = isoflop.predict(isoflop.fit(swept[1]), flops=TARGET)
    assert answer.num_params.value == pytest.approx(float(LAW.optimum(TARGET)[0]), rel=0.5)


def test_the_spend_may_be_a_share_of_the_target():
    assert plan(spend=0.1).specs == plan(spend=1e9).specs


def test_a_size_whose_run_failed_is_not_planned_again():
    runs = pilot()
    lost = replace(runs[1], status="failed", loss=float("nan"), flops=0.0, num_tokens=0.0)
    known = [runs[0], lost, runs[2]]
    second = plan(known)
    assert second.specs
    assert lost.size not in {spec.size for spec in second.specs}


def test_a_size_whose_step_raises_is_left_out_with_a_note():
    sweep = plan(task=mlp_task(model=Fussy))
    assert sweep.specs
    assert not any(20 < spec.size < 200 for spec in sweep.specs)
    assert any(
        "is left out: a training step of it raised RuntimeError: widths from 20" in note
        for note in sweep.notes
    )


def test_a_spend_that_pays_for_no_training_is_refused_with_one_that_does():
    with pytest.raises(
        isoflop.PlanError, match=r"fewer than 20 teach nothing; spend about .* times as much"
    ):
        plan(target=1e7, spend=1e5)


@pytest.mark.parametrize("design", ["sequential", "lean"])
def test_a_target_more_than_a_thousand_times_the_largest_run_is_refused(design):
    with pytest.raises(
        isoflop.PlanError,
        match=r"no law can be trusted beyond 1,000 times; spend more, or give allow",
    ):
        plan(target=4 * FAR * SPEND, design=design)


def test_a_far_target_is_planned_on_request_with_the_runs_of_a_near_one():
    far = plan(target=4 * FAR * SPEND, allow_far=True)
    assert [spec.id for spec in far.specs] == [spec.id for spec in plan().specs]


def test_the_whole_spend_is_judged_and_not_one_stage():
    target = 0.9 * FAR * 0.4 * SPEND
    sweep = plan(target=target)
    assert target > FAR * max(spec.flops for spec in sweep.specs)


def test_a_grid_for_a_far_target_is_refused_but_on_request():
    with pytest.raises(isoflop.PlanError, match="allow_far=True"):
        plan(budgets=[1e6, 1e7], target=1.1e10, spend=None)
    assert plan(budgets=[1e6, 1e7], target=1.1e10, spend=None, allow_far=True).specs
    assert plan(budgets=[1e6, 1e7], target=0.9e10, spend=None).specs


def test_an_unknown_design_is_refused_with_those_that_there_are():
    with pytest.raises(
        isoflop.PlanError, match="design must be 'auto' or 'sequential' or 'lean', but got 'grid'"
    ):
        plan(design="grid")


def test_small_models_are_swept_by_valleys_and_large_ones_by_single_runs():
    lean = plan(design="lean")
    assert [spec.id for spec in plan(design="auto").specs] == [spec.id for spec in lean.specs]
    assert stage_design("auto", 1e14) == "lean"
    assert stage_design("auto", 1e15) == "sequential"
    assert stage_design("sequential", 1e14) == "sequential"


def test_a_lean_sweep_whose_rates_are_checked_trains_each_budget_once():
    runs, budgets = [], []
    while True:
        sweep = plan(runs, target=1e13, spend=1e12, design="lean", check_rates=True)
        if not sweep.specs:
            break
        budgets.append(max(spec.budget for spec in sweep.specs))
        runs = runs + train(sweep)
    assert [after / before for before, after in pairwise(budgets)] == pytest.approx(
        [3] * 3, rel=0.05
    )
    assert runs.checks
    assert 0.95e12 < sum(run.flops for run in [*runs, *runs.checks]) <= OVER * 1e12


def test_seeds_share_the_spend():
    seeds = plan(task=mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(0, 1))))
    assert len(seeds.specs) == 6
    assert seeds.flops == pytest.approx(plan().flops, rel=0.02)


def test_plans_leave_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    plan()
    assert torch.rand(1) == wanted


@pytest.mark.parametrize("design", ["sequential", "lean"])
def test_stages_go_on_with_several_seeds(design):
    sweeps, runs = all_stages(
        design=design, task=mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(0, 1)))
    )
    assert len(sweeps) >= 4
    assert sum(run.flops for run in runs) <= OVER * SPEND


def test_runs_of_another_order_of_seeds_are_known_all_the_same():
    runs = pilot()
    again = plan(runs, task=mlp_task(recipe=isoflop.Recipe(epochs=None, seeds=(1, 0))))
    assert "the pilot, recentred" in again.notes[0]


def test_a_failed_seed_leaves_its_completed_twin_known():
    recipe = isoflop.Recipe(epochs=None, seeds=(0, 1))
    runs = [
        replace(run, status="failed") if run.spec.seed == 0 else run
        for run in train(plan(task=mlp_task(recipe=recipe)))
    ]
    known = _of_one_seed(runs, recipe.seeds)
    assert len(known) == len(runs) / 2
    assert all(run.status == "completed" for run in known)


def test_too_few_data_are_told_as_such():
    task = mlp_task(train_data=examples(300), recipe=isoflop.Recipe())
    with pytest.raises(
        isoflop.PlanError, match="passes over the data allow 300 tokens, and the pilot needs more"
    ):
        plan(task=task, target=1e12, spend=1e10)


def test_runs_that_lack_data_are_noted():
    notes = plan(task=mlp_task(recipe=isoflop.Recipe()), target=1e11, spend=1e9).notes
    assert any(
        note.startswith("1 of the stage's 3 sizes lacks data: the recipe's passes over the data")
        for note in notes
    )


class Wide(MLP):
    """A network whose activations are far larger than its parameters."""

    def forward(self, x):
        return self.out(
            torch.relu(self.hidden(x))
            .unsqueeze(1)
            .expand(-1, 1000, -1)
            .contiguous()
            .sigmoid()
            .mean(1)
        )


def test_sizes_whose_activations_do_not_fit_are_not_on_the_ladder():
    room, task = Room("a small device", 5e8, True), mlp_task(model=Wide)
    sizes = sizes_of(task)
    ladder = ladder_of(sizes, sizes.supply, spend=1e12, runs=[], room=room)
    assert room.holds(count_size(task, ladder.sizes[-1]))
    free = ladder_of(sizes, sizes.supply, spend=1e12, runs=[], room=replace(room, binds=False))
    assert not room.holds(count_size(task, free.sizes[-1]))


def test_sizes_that_memory_leaves_out_of_a_staged_plan_are_noted_once(monkeypatch):
    monkeypatch.setattr(limits, "device_bytes", lambda: 2e5)
    notes = plan(hardware="here").notes
    (note,) = [note for note in notes if "is left out: it needs" in note]
    assert note.endswith("but this machine's device has 0.0 GB. So are larger ones.")
    assert not any("is left out: it needs" in note for note in plan().notes)


def test_a_device_that_holds_too_few_sizes_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(limits, "device_bytes", lambda: 600.0)
    with pytest.raises(
        isoflop.PlanError,
        match=r"that this machine's device has memory for from .* larger hardware=",
    ):
        plan(hardware="here")


def test_runs_of_one_seed_at_one_place_are_all_known():
    runs = pilot()
    twice = [*runs, *(replace(run, spec=replace(run.spec, lr=0.5)) for run in runs)]
    assert _of_one_seed(twice, (0,)) == twice


def test_runs_of_seeds_that_the_recipe_does_not_have_stay_known():
    runs = [
        replace(run, spec=replace(run.spec, seed=seed)) for run in pilot() for seed in (0, 1, 7)
    ]
    assert {run.spec.seed for run in _of_one_seed(runs, (1, 0))} == {1, 7}


def test_a_sweep_whose_next_budget_the_data_cannot_feed_ends_with_that_reason():
    few = mlp_task(train_data=examples(300), recipe=isoflop.Recipe(), fingerprint="of both")
    many = mlp_task(fingerprint="of both")
    runs = train(plan(task=many), task=many)
    (note,) = [
        note for note in plan(runs, task=few).notes if note.startswith("The sweep is finished")
    ]
    assert (
        "the recipe's passes over the data allow 300 tokens, and the pilot, recentred needs more"
        in note
    )


def test_a_pilot_whose_only_fed_runs_are_too_short_lacks_data():
    task = mlp_task(
        train_data=examples(15000), recipe=isoflop.Recipe(min_batch=2000), sizes=[8, 16, 32, 128]
    )
    with pytest.raises(
        isoflop.PlanError, match="passes over the data allow 15.0k tokens, and the pilot needs more"
    ):
        plan(task=task, target=1e11, spend=3e10)


class Deep(nn.Module):
    """A network of many small layers."""

    def __init__(self, depth):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 16), *(nn.Linear(16, 16) for _ in range(depth)), nn.Linear(16, 4)
        )

    def forward(self, x):
        return self.layers(x)


@cache
def flops_at_depth(depth):
    return count_size(mlp_task(model=Deep, size_param="depth"), depth).flops_per_token


@pytest.mark.parametrize("binds", [True, False])
def test_the_deepest_models_are_not_counted_where_shallower_ones_show_what_they_cost(
    monkeypatch, binds
):
    counted = []
    monkeypatch.setattr(
        task_sizes, "count_size", lambda task, size: counted.append(size) or count_size(task, size)
    )
    task, room = mlp_task(model=Deep, size_param="depth"), Room("a large device", 1e12, binds)
    sizes = sizes_of(task)
    ladder = ladder_of(sizes, sizes.supply, spend=3e9, runs=[], room=room)
    assert max(counted) < ladder.sizes[-1] / 2
    assert ladder.flops_per_token[-1] == pytest.approx(flops_at_depth(ladder.sizes[-1]), rel=5e-3)
