"""What every executor promises (training/executors/contract.py), each promise as a function that an executor keeps.

OF_A_MAP: promise(watched(executor, folder))    raises AssertionError where the executor breaks it
OF_AN_END: promise(executor, folder)            the same, of a map that is stopped and of one whose workers die
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from functools import cache

from light_work import Deadly

import isoflop
from isoflop.errors import StoreError
from isoflop.training.executors.contract import Progress
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.serialization import dump_work
from isoflop.training.executors.work import TaskWork
from tasks import MLP, mlp_task

NUM_RUNS = 3


@cache
def specs():
    return isoflop.plan(mlp_task(), budgets=[1e6]).specs[:NUM_RUNS]


@cache
def expected_losses():
    return {
        run.id: run.loss
        for run in InProcess().map(TaskWork(mlp_task(), isoflop.MemoryStore()), list(specs()))
    }


@dataclass(frozen=True)
class Watched:
    """One map of an executor over runs of which one raises and one meets an error that passes, as its caller sees it."""

    runs: list
    recorded: list
    """What the store had of each run when it was reported."""
    progress: list
    passed: list
    """Sizes at which an error was met and went away."""


def watched(executor, folder):
    store, seen = isoflop.DirectoryStore(folder), []
    (folder / "passed").mkdir(parents=True)
    unlucky, failing, _ = (spec.size for spec in specs())
    kwargs = {"fails_at": failing, "unlucky_at": unlucky, "folder": str(folder / "passed")}
    task = mlp_task(model=Eventful, model_kwargs=kwargs)
    runs, recorded = [], []
    for run in executor.map(TaskWork(task, store, seen.append), list(specs())):
        runs.append(run)
        recorded.append(store.read_run(run.id))
    return Watched(runs, recorded, seen, sorted(map(int, os.listdir(folder / "passed"))))


def each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep(watched):
    assert sorted(run.id for run in watched.runs) == sorted(spec.id for spec in specs())
    losses = {run.id: run.loss for run in watched.runs if run.status == "completed"}
    assert losses == {
        run_id: loss for run_id, loss in expected_losses().items() if run_id != specs()[1].id
    }


def a_run_is_recorded_before_it_is_reported(watched):
    assert [str(run) for run in watched.runs] == [str(run) for run in watched.recorded]
    completed = [
        pair
        for pair in zip(watched.runs, watched.recorded, strict=True)
        if pair[0].status == "completed"
    ]
    assert len(completed) == 2
    assert all(
        run == recorded for run, recorded in completed
    )  # a failed one has no number for its loss


def progress_comes_in_one_form_to_the_caller(watched):
    assert {type(progress) for progress in watched.progress} == {Progress}
    assert {progress.spec.id for progress in watched.progress} <= {spec.id for spec in specs()}
    most = [progress.spec.num_tokens + progress.spec.batch for progress in watched.progress]
    assert all(
        0 < progress.num_tokens <= end for progress, end in zip(watched.progress, most, strict=True)
    )


def a_run_that_raises_is_a_record_and_the_others_go_on(watched):
    runs = {run.id: run for run in watched.runs}
    assert [runs[spec.id].status for spec in specs()] == ["completed", "failed", "completed"]
    assert "not this size" in runs[specs()[1].id].error


def an_error_that_passes_is_tried_again_to_the_same_loss(watched):
    (run,) = (run for run in watched.runs if run.id == specs()[0].id)
    assert watched.passed == [run.size]
    assert (run.status, run.loss) == ("completed", expected_losses()[run.id])


class Eventful(MLP):
    """Fails at one size; at another one the network fails once."""

    def __init__(self, width, fails_at, unlucky_at, folder):
        super().__init__(width)
        self.fails = width == fails_at
        self.mark = f"{folder}/{width}" if width == unlucky_at else None

    def forward(self, x):
        if self.fails:
            sys.exit("not this size")
        trains = self.training and len(x) > 2 and x.device.type == "cpu"
        if self.mark and trains and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            raise ConnectionResetError("reset by peer")
        return super().forward(x)


def a_stopped_sweep_goes_on_to_the_same_losses(executor, folder):
    store, slow = isoflop.DirectoryStore(folder), long_spec()
    asked = [specs()[1], slow]
    runs = iter(executor.map(TaskWork(mlp_task(model=Slower), store), asked))
    first = next(runs)
    end = time.monotonic() + 1
    while (
        first.id != slow.id
        and not (folder / slow.id / "spec.json").exists()
        and time.monotonic() < end
    ):
        time.sleep(0.01)  # until it is under way, where it begins beside the first one
    if hasattr(runs, "close"):
        runs.close()
    begun = (folder / slow.id / "spec.json").exists()
    assert store.read_run(slow.id) is None
    assert (folder / slow.id / "checkpoint").exists() == begun, "stopped without saving"
    assert not list(folder.glob("*/lease-*")), "somebody is still at work"
    finished = InProcess().map(TaskWork(mlp_task(), store), asked)
    assert {run.id: run.loss for run in finished} == long_losses()


@cache
def long_spec():
    return replace(specs()[0], num_tokens=3 * specs()[0].num_tokens)


class Slow(MLP):
    """The same numbers, but so slowly at one size that it is still under way when it is stopped."""

    seconds = 0.005

    def forward(self, x):
        if self.training and self.out.in_features == long_spec().size:
            time.sleep(self.seconds)
        return super().forward(x)


class Slower(Slow):
    """Over a minute, so that it has not ended on a busy machine where the run beside it has."""

    seconds = 0.1


@cache
def long_losses():
    work = TaskWork(mlp_task(), isoflop.MemoryStore())
    return {run.id: run.loss for run in InProcess().map(work, [specs()[1], long_spec()])}


def a_run_whose_worker_dies_is_tried_again_and_then_failed(executor, folder):
    once, always, fine = specs()
    trains = dump_work(TaskWork(mlp_task(), isoflop.DirectoryStore(folder)))
    work = Deadly(trains, str(folder), once.size, always.size)
    runs = {run.id: run for run in executor.map(work, list(specs()))}
    assert [runs[spec.id].status for spec in (once, always, fine)] == [
        "completed",
        "failed",
        "completed",
    ]
    assert "worker died 2 times" in runs[always.id].error
    assert len(os.listdir(folder / "deaths")) == 3
    assert all(runs[spec.id].loss == expected_losses()[spec.id] for spec in (once, fine))


def a_full_disk_fails_no_run(executor, folder):
    folder.mkdir(parents=True)
    (folder / "full").touch()
    store = Full(folder)
    try:
        found = list(executor.map(TaskWork(mlp_task(), store), list(specs()[:1])))
    except StoreError as error:
        found = str(error)
    assert found == "Cannot write the record: no room."
    assert store.read_run(specs()[0].id) is None


class Full(isoflop.DirectoryStore):
    """Has no room for a record while its folder is marked."""

    def write_run(self, run):
        if (self.path / "full").exists():
            raise StoreError("Cannot write the record: no room.")
        super().write_run(run)


OF_A_MAP = (
    each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep,
    a_run_is_recorded_before_it_is_reported,
    progress_comes_in_one_form_to_the_caller,
    a_run_that_raises_is_a_record_and_the_others_go_on,
    an_error_that_passes_is_tried_again_to_the_same_loss,
)
OF_AN_END = (
    a_stopped_sweep_goes_on_to_the_same_losses,
    a_run_whose_worker_dies_is_tried_again_and_then_failed,
    a_full_disk_fails_no_run,
)
