import io
from contextlib import redirect_stderr

import pytest
import torch

import isoflop
from isoflop.planning.sweep import Sweep
from isoflop.training.executors.simulated import Simulated
from isoflop.training.progress import Display
from isoflop.training.ranks import Ranks
from tasks import BUDGETS, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)


class Counting:
    """An executor that counts what it was asked to do."""

    def __init__(self):
        self.asked = []

    def map(self, work, specs):
        self.asked.append(len(specs))
        return Simulated(LAW.loss).map(work, specs)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=BUDGETS)


def test_runs_come_in_the_order_of_the_sweep(sweep, tmp_path):
    runs = isoflop.train(
        mlp_task(), sweep, store=tmp_path, executor=Simulated(LAW.loss), progress=False
    )
    assert [run.id for run in runs] == [spec.id for spec in sweep.specs]


def test_what_the_store_has_is_not_trained_again(sweep, tmp_path):
    executor = Counting()
    half = Sweep(specs=sweep.specs[:10])
    for asked in (half, sweep, sweep):
        isoflop.train(mlp_task(), asked, store=tmp_path, executor=executor, progress=False)
    assert executor.asked == [10, len(sweep) - 10]


def test_each_new_record_is_announced(sweep):
    seen = []
    isoflop.train(
        mlp_task(),
        sweep,
        store=isoflop.MemoryStore(),
        executor=Simulated(LAW.loss),
        on_record=seen.append,
        progress=False,
    )
    assert len(seen) == len(sweep)


def test_an_empty_sweep_is_refused():
    with pytest.raises(isoflop.PlanError, match="at least one run"):
        isoflop.train(mlp_task(), Sweep(specs=()), store=isoflop.MemoryStore())


def test_a_sweep_of_another_task_is_refused(sweep):
    with pytest.raises(
        isoflop.PlanError, match=f"planned for another task: {len(sweep)} of {len(sweep)} runs"
    ):
        isoflop.train(mlp_task(fingerprint="other"), sweep, store=isoflop.MemoryStore())


def test_a_store_that_is_none_is_refused(sweep):
    with pytest.raises(
        isoflop.IsoflopError, match="store must be a folder's path or a Store, but got"
    ):
        isoflop.train(mlp_task(), sweep, store={})


def test_without_a_terminal_each_ended_run_is_a_line(sweep):
    with redirect_stderr(io.StringIO()) as output:
        isoflop.train(mlp_task(), sweep, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss))
    lines = output.getvalue().splitlines()
    assert len(lines) == len(sweep)
    assert lines[-1].startswith("isoflop: size ")
    assert f"{len(sweep)} of {len(sweep)} runs" in lines[-1]


def test_the_display_knows_the_best_run_of_each_budget(sweep):
    runs = [Simulated(LAW.loss).run(spec) for spec in sweep.specs]
    display = Display(sweep, ())
    for run in runs:
        display.finish(run)
    for budget, best in display.best().items():
        assert best.loss == min(run.loss for run in runs if run.budget == budget)
    assert display.flops_done() == pytest.approx(sweep.flops)


def test_a_known_law_is_recovered_through_the_whole_loop(sweep):
    runs = isoflop.train(
        mlp_task(), sweep, store=isoflop.MemoryStore(), executor=Simulated(LAW.loss), progress=False
    )
    law = isoflop.fit(runs, isoflop.Parametric()).law
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(law, name) == pytest.approx(getattr(LAW, name), rel=1e-3)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (
            {"optimizer": lambda params, learning_rate: None},
            "raised TypeError.*unexpected keyword argument",
        ),
        ({"optimizer": torch.optim.SGD}, "raised TypeError.*'betas'"),
        ({"optimizer": lambda groups, lr, betas: None}, "raised AttributeError"),
        ({"groups": lambda model: []}, "raised TypeError.*positional argument"),
    ],
)
def test_an_optimiser_that_cannot_be_made_is_refused_before_the_sweep(recipe, reason):
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, **recipe), fingerprint="optimiser")
    sweep = isoflop.plan(task, budgets=[1e6])
    store = isoflop.MemoryStore()
    with pytest.raises(
        isoflop.ContractError, match=f"optimizer must be a factory called as .* {reason}"
    ):
        isoflop.train(task, sweep, store=store, progress=False)
    assert store.read_runs() == []


class TwoWithOtherTasks(Ranks):
    def gathered(self, items):
        return [*items, "another"]


def test_processes_of_torchrun_that_have_other_tasks_are_refused(sweep, monkeypatch):
    two = TwoWithOtherTasks(0, 2)
    monkeypatch.setattr("isoflop.training.runner.current_ranks", lambda: two)
    with pytest.raises(
        isoflop.PlanError, match="All 2 processes of torchrun must have the same task"
    ):
        isoflop.train(mlp_task(), sweep, store=isoflop.MemoryStore())
