"""One contract, every executor; and executors that break it, which must be caught."""

import threading
import time
from dataclasses import replace

import promises
import pytest

import isoflop
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.work import TaskWork

pytestmark = pytest.mark.usefixtures("warm_python")

EXECUTORS = ("in process", "processes", "ray", "slurm")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Before the next try, in this process; workers pause as they always do."""
    monkeypatch.setattr("isoflop.training.executors.stored_work.RETRY_SECONDS", (0.01,))


@pytest.fixture(scope="module")
def maps():
    """One map of each executor, by name."""
    return {}


@pytest.mark.parametrize("promise", promises.OF_A_MAP, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_keeps_every_promise_of_a_map(name, promise, make_executor, maps, tmp_path):
    if name not in maps:
        maps[name] = promises.watched(make_executor(name), tmp_path / "store")
    promise(maps[name])


@pytest.mark.parametrize("promise", promises.OF_AN_END, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_keeps_every_promise_of_an_end(name, promise, make_executor, tmp_path):
    if (
        name == "in process"
        and promise is promises.a_run_whose_worker_dies_is_tried_again_and_then_failed
    ):
        pytest.skip("its worker is the caller")
    promise(make_executor(name), tmp_path / "store")


class Forgetful(InProcess):
    def map(self, work, specs):
        return super().map(work, specs[:-1])


class Doubling(InProcess):
    def map(self, work, specs):
        for run in super().map(work, specs):
            yield run
            yield run


class Imprecise(InProcess):
    def map(self, work, specs):
        return (replace(run, loss=run.loss + 1e-15) for run in super().map(work, specs))


class Unrecorded(InProcess):
    def map(self, work, specs):
        return super().map(replace(work, store=isoflop.MemoryStore()), specs)


class Mute(InProcess):
    def map(self, work, specs):
        return super().map(replace(work, on_progress=None), specs)


class Fragile(InProcess):
    def map(self, work, specs):
        for run in super().map(work, specs):
            yield run
            if run.status == "failed":
                return


class Impatient(InProcess):
    def map(self, work, specs):
        return super().map(Once(**vars(work)), specs)


class Once(TaskWork):
    """Tries nothing again."""

    def _recorded(self, spec, stop_requested):
        return self._attempt(spec, stop_requested)[0]


class Unstoppable:
    """Trains in threads that nobody stops."""

    def __init__(self):
        self.threads = []

    def map(self, work, specs):
        runs = []
        threads = self.threads = [
            threading.Thread(target=lambda spec=spec: runs.append(work(spec)), daemon=True)
            for spec in specs
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or runs:
            if runs:
                yield runs.pop()
            time.sleep(0.01)


class Stubborn(isoflop.Processes):
    def __init__(self):
        super().__init__(2, retries=0)


@pytest.mark.parametrize(
    ("executor", "broken"),
    [
        (Forgetful(), promises.each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep),
        (Doubling(), promises.each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep),
        (Imprecise(), promises.each_spec_comes_back_once_with_the_loss_of_the_in_process_sweep),
        (Unrecorded(), promises.a_run_is_recorded_before_it_is_reported),
        (Mute(), promises.progress_comes_in_one_form_to_the_caller),
        (Fragile(), promises.a_run_that_raises_is_a_record_and_the_others_go_on),
        (Impatient(), promises.an_error_that_passes_is_tried_again_to_the_same_loss),
        (Unstoppable(), promises.a_stopped_sweep_goes_on_to_the_same_losses),
        (Stubborn(), promises.a_run_whose_worker_dies_is_tried_again_and_then_failed),
    ],
    ids=lambda value: type(value).__name__ if not hasattr(value, "__name__") else value.__name__,
)
def test_an_executor_that_breaks_a_promise_is_caught(executor, broken, tmp_path, monkeypatch):
    with pytest.raises((AssertionError, KeyError)):
        broken(
            *(
                [promises.watched(executor, tmp_path)]
                if broken in promises.OF_A_MAP
                else [executor, tmp_path]
            )
        )
    monkeypatch.setattr(promises.Slower, "seconds", 0)
    for thread in getattr(executor, "threads", ()):
        thread.join()
