"""What every executor promises (training/executors/contract.py), each promise as a function that an executor keeps.

promise(executor, folder)       raises AssertionError where the executor breaks it
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from functools import cache

import isoflop
from isoflop.errors import StoreError
from isoflop.training.executors.in_process import InProcess
from isoflop.training.loop import Progress
from isoflop.training.work import Work
from tasks import MLP, mlp_task

NUM_RUNS = 3


@cache
def specs():
    return isoflop.plan(mlp_task(), budgets=[1e6]).specs[:NUM_RUNS]


@cache
def expected_losses():
    return {run.id: run.loss for run in InProcess().map(Work(mlp_task(), isoflop.MemoryStore()), list(specs()))}


def each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep(executor, folder):
    runs = list(executor.map(Work(mlp_task(), isoflop.DirectoryStore(folder)), list(specs())))
    assert sorted(run.id for run in runs) == sorted(spec.id for spec in specs())
    assert {run.id: run.loss for run in runs} == expected_losses()


def a_run_is_recorded_before_it_is_reported(executor, folder):
    store = isoflop.DirectoryStore(folder)
    for run in executor.map(Work(mlp_task(), store), list(specs())):
        assert store.read_run(run.id) == run


def progress_comes_in_one_form_to_the_caller(executor, folder):
    seen = []
    for _ in executor.map(Work(mlp_task(), isoflop.DirectoryStore(folder), seen.append), list(specs())):
        pass
    assert {type(progress) for progress in seen} == {Progress}
    assert {progress.spec.id for progress in seen} <= {spec.id for spec in specs()}
    assert all(0 < progress.num_tokens <= progress.spec.num_tokens + progress.spec.batch for progress in seen)


def a_run_that_raises_is_a_record_and_the_others_go_on(executor, folder):
    failing = mlp_task(model=Failing, model_kwargs={"fails_at": specs()[1].size})
    runs = {run.id: run for run in executor.map(Work(failing, isoflop.DirectoryStore(folder)), list(specs()))}
    assert [runs[spec.id].status for spec in specs()] == ["completed", "failed", "completed"]
    assert "not this size" in runs[specs()[1].id].error


class Failing(MLP):
    def __init__(self, width, fails_at):
        super().__init__(width)
        self.fails = width == fails_at

    def forward(self, x):
        if self.fails:
            raise RuntimeError("not this size")
        return super().forward(x)


def a_stopped_sweep_goes_on_to_the_same_losses(executor, folder):
    store, slow = isoflop.DirectoryStore(folder), long_spec()
    asked = [specs()[1], slow]
    runs = iter(executor.map(Work(mlp_task(model=Slow), store), asked))
    first = next(runs)
    end = time.monotonic() + 1
    while first.id != slow.id and not (folder / slow.id / "spec.json").exists() and time.monotonic() < end:
        time.sleep(0.01)  # until it is under way, where it begins beside the first one
    if hasattr(runs, "close"):
        runs.close()
    begun = (folder / slow.id / "spec.json").exists()
    assert store.read_run(slow.id) is None
    assert (folder / slow.id / "checkpoint").exists() == begun, "stopped without saving"
    assert not list(folder.glob("*/lease-*")), "somebody is still at work"
    finished = InProcess().map(Work(mlp_task(), store), asked)
    assert {run.id: run.loss for run in finished} == long_losses()


@cache
def long_spec():
    return replace(specs()[0], num_tokens=3 * specs()[0].num_tokens)


class Slow(MLP):
    """The same numbers, but so slowly at one size that it is still under way when it is stopped."""

    def forward(self, x):
        if self.training and self.out.in_features == long_spec().size:
            time.sleep(0.02)
        return super().forward(x)


@cache
def long_losses():
    work = Work(mlp_task(), isoflop.MemoryStore())
    return {run.id: run.loss for run in InProcess().map(work, [specs()[1], long_spec()])}


def a_run_whose_worker_dies_is_tried_again_and_then_failed(executor, folder):
    once, always, fine = specs()
    work = Deadly(Work(mlp_task(), isoflop.DirectoryStore(folder)), str(folder), once.size, always.size)
    runs = {run.id: run for run in executor.map(work, list(specs()))}
    assert [runs[spec.id].status for spec in (once, always, fine)] == ["completed", "failed", "completed"]
    assert "worker died 2 times" in runs[always.id].error
    assert len(os.listdir(folder / "deaths")) == 3
    assert all(runs[spec.id].loss == expected_losses()[spec.id] for spec in (once, fine))


@dataclass(frozen=True)
class Deadly:
    """Work whose worker is killed: at one size the first time, at another one always."""

    work: Work
    folder: str
    once: int
    always: int

    def __call__(self, spec):
        deaths = os.path.join(self.folder, "deaths")
        os.makedirs(deaths, exist_ok=True)
        times = sum(name.startswith(spec.id) for name in os.listdir(deaths))
        if spec.size == self.always or (spec.size == self.once and times == 0):
            open(os.path.join(deaths, f"{spec.id}-{times}"), "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(spec)


def an_error_that_passes_is_tried_again_and_a_full_disk_fails_no_run(executor, folder):
    (folder / "marks").mkdir(parents=True)
    task = mlp_task(model=Unlucky, model_kwargs={"folder": str(folder / "marks")})
    store = Full(folder)
    runs = {run.id: run.loss for run in executor.map(Work(task, store), list(specs()[:2]))}
    assert runs == {spec.id: expected_losses()[spec.id] for spec in specs()[:2]}
    assert len(os.listdir(folder / "marks")) == 2
    (folder / "full").touch()
    try:
        found = list(executor.map(Work(task, store), list(specs()[2:])))
    except StoreError as error:
        found = str(error)
    assert found == "Cannot write the record: no room."
    assert store.read_run(specs()[2].id) is None


class Unlucky(MLP):
    """Meets an error of the network once at each size."""

    def __init__(self, width, folder):
        super().__init__(width)
        self.mark = f"{folder}/{width}"

    def forward(self, x):
        if self.training and len(x) > 2 and x.device.type == "cpu" and not os.path.exists(self.mark):
            open(self.mark, "w").close()
            raise ConnectionResetError("reset by peer")
        return super().forward(x)


class Full(isoflop.DirectoryStore):
    """Has no room for a record while its folder is marked."""

    def write_run(self, run):
        if (self.path / "full").exists():
            raise StoreError("Cannot write the record: no room.")
        super().write_run(run)


PROMISES = (
    each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep,
    a_run_is_recorded_before_it_is_reported,
    progress_comes_in_one_form_to_the_caller,
    a_run_that_raises_is_a_record_and_the_others_go_on,
    a_stopped_sweep_goes_on_to_the_same_losses,
    a_run_whose_worker_dies_is_tried_again_and_then_failed,
    an_error_that_passes_is_tried_again_and_a_full_disk_fails_no_run,
)
