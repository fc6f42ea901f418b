"""Cooldown branches are the runs that separate trainings would be, and each trunk is trained once."""

import signal
from dataclasses import replace

import pytest

import isoflop
from isoflop.laws.points import Points
from isoflop.training import loop
from isoflop.training.branches import waves
from isoflop.training.loop import train_model
from tasks import mlp_task

RECIPE = isoflop.Recipe(epochs=None, schedule="wsd", branches=True, batch_tokens=50)
SIZES = [8, 16, 32, 64]


def branching_task(**changes):
    return mlp_task(recipe=replace(RECIPE, **changes), sizes=SIZES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    task = branching_task()
    sweep = isoflop.plan(task, budgets=[1e6, 3e6, 9e6])
    steps = []
    patch = pytest.MonkeyPatch()
    step = loop.train_step
    patch.setattr(
        loop,
        "train_step",
        lambda setting, *rest: (steps.append(setting.spec), step(setting, *rest))[1],
    )
    store = tmp_path_factory.mktemp("store")
    runs = isoflop.train(task, sweep, store=store, progress=False)
    patch.undo()
    return task, sweep, runs, steps, store


def test_each_branch_equals_a_separate_run_bit_for_bit(trained):
    task, _, runs, _, _ = trained
    for run in runs[:3] + runs[-2:]:
        alone = train_model(task, run.spec, isoflop.MemoryStore())
        assert (run.status, run.loss, run.num_tokens) == ("completed", alone.loss, alone.num_tokens)
        assert run.num_tokens == run.spec.num_tokens


def test_each_trunk_is_trained_once_and_the_plan_counts_it_once(trained):
    _, sweep, runs, steps, _ = trained
    trained_flops = sum(
        spec.flops_per_token * spec.batch * spec.tokens_per_example for spec in steps
    )
    assert trained_flops == pytest.approx(sweep.flops, rel=0.03)
    assert sweep.flops < 0.85 * sum(run.flops for run in runs)
    assert any("branch off 4 trunks, which saves" in note for note in sweep.notes)
    assert len({spec.trunk for spec in sweep.specs}) == 4


def test_branches_of_a_trunk_are_one_trained_model_to_a_fit(trained):
    _, _, runs, _, _ = trained
    assert all(run.group == run.spec.trunk for run in runs)
    assert len(set(Points.of(runs).cluster.tolist())) == 4
    assert [run.spec.id for run in runs] == [spec.id for spec in trained[1].specs]


def test_ids_are_the_same_when_planned_again_and_sizes_recur(trained):
    _, sweep, _, _, _ = trained
    again = isoflop.plan(branching_task(), budgets=[1e6, 3e6, 9e6])
    assert [spec.id for spec in again.specs] == [spec.id for spec in sweep.specs]
    free = isoflop.plan(mlp_task(recipe=RECIPE), budgets=[1e6, 3e6, 9e6])
    sizes = [
        {spec.size for spec in free.specs if spec.budget == budget} for budget in (1e6, 3e6, 9e6)
    ]
    assert len(sizes[0] & sizes[1]) >= 5


def test_a_sweep_that_was_stopped_in_its_trunk_goes_on_to_the_same_losses(trained, tmp_path):
    task, sweep, runs, steps, _ = trained
    first, _ = waves(sweep.specs)
    step, count = loop.train_step, len(steps) // 3
    patch = pytest.MonkeyPatch()
    calls = []

    def dies(setting, *rest):
        calls.append(setting)
        if len(calls) == count:
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C
        return step(setting, *rest)

    patch.setattr(loop, "train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        isoflop.train(task, sweep, store=tmp_path, progress=False, checkpoint_seconds=0.0)
    patch.undo()
    again = isoflop.train(task, sweep, store=tmp_path, progress=False)
    assert [run.loss for run in again] == [run.loss for run in runs]
    assert len(first) == 4


def test_rules_that_depend_on_tokens_are_refused_with_the_remedy():
    with pytest.raises(
        isoflop.PlanError,
        match=r"must have one batch, but Recipe\(batch_tokens=\) .* such as Recipe\(",
    ):
        isoflop.plan(branching_task(batch_tokens=lambda N, D: D**0.5), budgets=[1e6, 3e6, 9e6])
    with pytest.raises(isoflop.PlanError, match="must have one lr"):
        isoflop.plan(branching_task(lr=isoflop.PowerRule(1.0, -0.3, -0.1)), budgets=[1e6, 9e6])
    with pytest.raises(isoflop.PlanError, match="must have one weight_decay.*no decay_timescale"):
        isoflop.plan(branching_task(decay_timescale=0.1), budgets=[1e6, 9e6])
    with pytest.raises(isoflop.ContractError, match='need schedule="wsd"'):
        isoflop.Recipe(branches=True)


def test_a_warm_up_longer_than_the_trunk_is_refused():
    with pytest.raises(isoflop.PlanError, match="cool down before it is warm"):
        isoflop.plan(branching_task(warmup=0.5, cooldown=0.7), budgets=[1e6, 9e6])
