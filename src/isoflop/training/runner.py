"""train(): the specs of a sweep that a store does not have yet go to an executor and come back as records."""

import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from isoflop import __version__
from isoflop.contract.fingerprint import fingerprint
from isoflop.errors import IsoflopError, PlanError
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.in_process import InProcess
from isoflop.training.loop import CHECKPOINT_SECONDS
from isoflop.training.progress import show_progress
from isoflop.training.work import Work

__all__ = ["Executor", "open_store", "train"]


class Executor(Protocol):
    """Anything with `map`: does the work for each spec, anywhere, and yields each spec's record once, in any order."""

    def map(self, work: Callable[[RunSpec], Run], specs: list[RunSpec], /) -> Iterable[Run]: ...


def train(
    task: Task,
    sweep: Sweep,
    *,
    store: str | os.PathLike[str] | Store,
    executor: Executor | None = None,
    on_record: Callable[[Run], None] | None = None,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> list[Run]:
    """Train the runs of a sweep and give them in its order; those that the store has are not trained again.

    store: a folder's path, or a Store.
    executor: where runs are trained; None for one after the other in this process.
    on_record: called with each new record; for redrawing a page, say.
    progress: show runs done, tokens per second, time left and the best loss of each budget.
    checkpoint_seconds: how often a run's state is saved, and so what a killed run loses at most.

    A run that diverges or raises comes back with that status and its reason; failed runs are not tried again unless
    their folder is removed. Ctrl-C stops after saving checkpoints; the same call goes on from there.

    Raises PlanError for an empty sweep or one that another task planned.
    """
    store = open_store(store)
    if not sweep.specs:
        raise PlanError("A sweep must have at least one run, but this one is empty.")
    _check_specs(task, sweep)
    store.write_task(_facts(task, sweep))
    recorded = {spec.id: run for spec in sweep.specs if (run := store.read_run(spec.id)) is not None}
    todo = [spec for run_id, spec in {spec.id: spec for spec in sweep.specs}.items() if run_id not in recorded]
    if todo:
        with show_progress(sweep, recorded.values(), enabled=progress) as display:
            work = Work(task, store, display.update, checkpoint_seconds)
            for run in (executor or InProcess()).map(work, todo):
                if store.read_run(run.id) is None:  # an executor without workers of its own, or a store in memory
                    store.write_run(run)
                recorded[run.id] = run
                display.finish(run)
                if on_record is not None:
                    on_record(run)
    return [recorded[spec.id] for spec in sweep.specs]


def open_store(store: str | os.PathLike[str] | Store) -> Store:
    """The store itself, or the one in the folder that was named."""
    if isinstance(store, str | os.PathLike):
        return DirectoryStore(store)
    if not isinstance(store, Store):
        raise IsoflopError(f"store must be a folder's path or a Store, but got {type(store).__name__}.")
    return store


def _check_specs(task: Task, sweep: Sweep) -> None:
    mark = fingerprint(task)
    strangers = [spec for spec in sweep.specs if spec.fingerprint != mark]
    if strangers:
        raise PlanError(
            f"The sweep was planned for another task: {len(strangers)} of {len(sweep.specs)} runs carry fingerprint "
            f"{strangers[0].fingerprint or 'none'}, but this task's is {mark}; plan again for this task."
        )


def _facts(task: Task, sweep: Sweep) -> dict[str, Any]:
    size_param = task.size_param if isinstance(task.size_param, str) else getattr(task.size_param, "__name__", "joint")
    return {
        "model": getattr(task.model, "__qualname__", type(task.model).__name__),
        "size_param": size_param,
        "unit": task.unit,
        "fingerprint": sweep.specs[0].fingerprint,
        "isoflop": __version__,
    }
