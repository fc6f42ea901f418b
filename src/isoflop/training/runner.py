"""train(): the specs of a sweep that a store does not have yet go to an executor and come back as records."""

import math
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, cast

from isoflop import __version__, arguments
from isoflop.errors import IsoflopError, PlanError
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import Store
from isoflop.task import Task, require_task
from isoflop.training.branches import branches_of, waves
from isoflop.training.executors.contract import Demand, Executor
from isoflop.training.executors.devices import check_devices, devices_of, num_devices
from isoflop.training.executors.from_string import executor_from
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.slurm import Slurm
from isoflop.training.executors.work import Work
from isoflop.training.interrupt import terminated_as_exit
from isoflop.training.loop import CHECKPOINT_SECONDS
from isoflop.training.progress import show_progress
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.rehearsal import rehearse
from isoflop.training.shared_store import records
from isoflop.training.summaries import tell_of_failures, telling_of_a_stop
from isoflop.training.trackers import check_trackers
from isoflop.user_code.fingerprint import fingerprint

__all__ = ["Executor", "executor_of", "open_store", "train"]

_TRAINED_BY = (
    "batch",
    "tokens_per_example",
    "lr",
    "beta1",
    "beta2",
    "weight_decay",
    "warmup",
    "schedule",
)
"""What a spec must say to be trained."""


def train(
    task: Task,
    sweep: Sweep,
    *,
    store: str | os.PathLike[str] | Store,
    executor: Executor | str | None = None,
    devices_per_run: int | Literal["auto"] = "auto",
    on_record: Callable[[Run], None] | None = None,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    trackers: Sequence[str] = (),
    hang_seconds: float | None = None,
) -> list[Run]:
    """Train the runs of a sweep and give them in its order; those that the store has are not trained again.

    store: a folder's path, or a Store.
    executor: where runs are trained, as Processes(8) or "processes:8"; None for one after the other in this process.
    devices_per_run: over how many devices each run is spread, where the executor can; "auto" for one, or the fewest of
        1, 2, 4, 8 that hold its states and its part of the batch. Under `torchrun` it is the ranks there are.
    on_record: called with each new record; for redrawing a page, say.
    progress: show runs done, tokens per second, time left and the best loss of each budget.
    trackers: experiment trackers to log each run to: "tensorboard", "wandb", "mlflow", "trackio".
    checkpoint_seconds: how often a run's state is saved, and so what a killed run loses at most.
    hang_seconds: end a run as failed that makes no step for so long; give several times what a step, a batch of the
        evaluation and the compilation take. None only says on stderr, from ten minutes on, which run stands where.

    A run that diverges or raises comes back with that status and its reason, and a summary on stderr counts them;
    failed runs are not tried again until `isoflop rerun` forgets them. Ctrl-C stops after saving checkpoints, and so
    does SIGTERM (exit code 75); a line on stderr says what is saved, and the same call goes on from there.

    Under `torchrun` every process calls this; all of them train each run together, and the first one writes.

    Raises PlanError for an empty sweep, one that another task planned, a pool of workers under `torchrun`, a number of
    devices that the executor cannot give, or a run whose states alone are more than a device holds; ContractError for
    a tracker that is not there, an optimiser that the recipe's factories do not make, or a state that cannot be saved;
    StoreError where the store cannot be written: that is no run's failure, and the same call goes on.
    """
    require_task(task, "train: task")
    if not isinstance(sweep, Sweep):
        raise arguments.refused(
            sweep, "train: sweep", "what isoflop.plan(task, ...) gives", error=PlanError
        )
    executor = executor_of(executor, "train")
    checkpoint_seconds = float(
        arguments.number(
            checkpoint_seconds,
            "train: checkpoint_seconds",
            must="0 or more",
            holds=lambda seconds: seconds >= 0,
            error=PlanError,
        )
    )
    if on_record is not None and not callable(on_record):
        raise arguments.refused(
            on_record, "train: on_record", "a function of a Run", error=PlanError
        )
    store, ranks = open_store(store), current_ranks()
    _check(task, sweep, executor, ranks)
    trackers = check_trackers(trackers)
    if hang_seconds is not None:
        hang_seconds = float(
            arguments.positive(hang_seconds, "train: hang_seconds", error=PlanError)
        )
    recorded = ranks.told(lambda: _begun(task, sweep, store))
    todo = [
        spec
        for run_id, spec in {spec.id: spec for spec in sweep.specs}.items()
        if run_id not in recorded
    ]
    if todo:
        rehearse(task, min(todo, key=lambda spec: spec.num_params), hang_seconds)
        demands = _demands(sweep, todo, devices_per_run, executor, ranks)
        shown = show_progress(sweep, recorded.values(), enabled=progress and ranks.is_first)
        with (
            telling_of_a_stop(sweep, store, enabled=ranks.is_first),
            shown as display,
            terminated_as_exit(),
        ):
            waiting = waves(todo)
            offshoots = branches_of(*waiting)
            work = Work(
                task,
                store,
                display.update,
                checkpoint_seconds,
                tuple(trackers),
                demands,
                offshoots,
                hang_seconds,
            )
            # closed before anything is said of what is saved: closing asks the workers to save, and waits for them
            with closing(_records_of(waiting, executor, work, ranks)) as done:
                for run in done:
                    # an executor without workers of its own, or a store in memory
                    if ranks.is_first and store.read_run(run.id) is None:
                        store.write_run(run)
                    recorded[run.id] = run
                    display.finish(run)
                    if on_record is not None and ranks.is_first:
                        on_record(run)
    runs = [recorded[spec.id] for spec in sweep.specs]
    if ranks.is_first:
        tell_of_failures(runs, store)
    return runs


def _records_of(
    waiting: Sequence[list[RunSpec]], executor: Executor, work: Work, ranks: Ranks
) -> Generator[Run, None, None]:
    """Records of one wave of runs after the other."""
    for specs in waiting:
        yield from records(executor, work, specs, ranks)


def executor_of(value: Any, function: str) -> Executor:
    """The executor that is meant, by its value, its class or a name such as processes:8; None is this process."""
    if value is None:
        return InProcess()
    if isinstance(value, str):
        return executor_from(value)
    if isinstance(value, type) and value in (InProcess, Processes, Ray, Slurm):
        return cast(Executor, value())
    if isinstance(value, type) or not callable(getattr(value, "map", None)):
        ways = "InProcess(), Processes(8), Ray() or Slurm(partition=...)"
        raise arguments.refused(value, f"{function}: executor", ways, error=PlanError)
    return cast(Executor, value)


def open_store(store: str | os.PathLike[str] | Store) -> Store:
    """The store itself, or the one in the folder that was named."""
    if isinstance(store, str | os.PathLike):
        return DirectoryStore(store)
    if not isinstance(store, Store):
        raise arguments.refused(store, "store", "a folder's path or a Store", error=IsoflopError)
    return store


def _begun(task: Task, sweep: Sweep, store: Store) -> dict[str, Run]:
    """What the store has of a sweep, after noting there what is being scaled."""
    store.write_task(_facts(task, sweep))
    found = {
        spec.id: (spec, run) for spec in sweep.specs if (run := store.read_run(spec.id)) is not None
    }
    # the files of a run may not say what it was; the sweep does
    return {
        run_id: replace(run, spec=spec) if run.spec != spec else run
        for run_id, (spec, run) in found.items()
    }


def _demands(
    sweep: Sweep,
    todo: Sequence[RunSpec],
    asked: int | Literal["auto"],
    executor: Executor,
    ranks: Ranks,
) -> dict[str, Demand]:
    """By run id: what the plan predicts, and how many devices the run gets."""
    devices = devices_of(executor, ranks.num_ranks)
    check_devices(executor, devices, asked, todo)
    known = {spec.id: sweep.memory_bytes.get(spec.id) for spec in todo}
    return {
        spec.id: Demand(
            sweep.seconds.get(spec.id),
            known[spec.id],
            num_devices(spec, known[spec.id], devices, asked),
        )
        for spec in todo
    }


def _check(task: Task, sweep: Sweep, executor: Executor, ranks: Ranks) -> None:
    if not sweep.specs:
        raise PlanError("A sweep must have at least one run, but this one is empty.")
    if ranks.num_ranks > 1 and not isinstance(executor, InProcess):
        raise PlanError(
            f"Under torchrun all {ranks.num_ranks} processes train each run together, so the executor must be "
            f"InProcess(), but got {type(executor).__name__}; start the program without torchrun to use that one."
        )
    for spec in sweep.specs:
        for setting in _TRAINED_BY:
            spec.given(setting)
        _check_finite(spec)
    mark = fingerprint(task)
    if len(set(ranks.gathered([mark]))) > 1:
        raise PlanError(
            f"All {ranks.num_ranks} processes of torchrun must have the same task, but their fingerprints differ: a "
            f"file was edited while they started, or the task depends on the rank; start them again."
        )
    strangers = [spec for spec in sweep.specs if spec.fingerprint != mark]
    if strangers:
        raise PlanError(
            f"The sweep was planned for another task: {len(strangers)} of {len(sweep.specs)} runs carry fingerprint "
            f"{strangers[0].fingerprint or 'none'}, but this task's is {mark}; plan again for this task."
        )


def _check_finite(spec: RunSpec) -> None:
    for name, value in vars(spec).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise PlanError(
                f"A run's numbers must be finite, but the {name} of one is {value}; make runs with plan()."
            )


def _facts(task: Task, sweep: Sweep) -> dict[str, Any]:
    size_param = (
        task.size_param
        if isinstance(task.size_param, str)
        else getattr(task.size_param, "__name__", "joint")
    )
    return {
        "model": getattr(task.model, "__qualname__", type(task.model).__name__),
        "size_param": size_param,
        "unit": task.unit,
        "fingerprint": sweep.specs[0].fingerprint,
        "isoflop": __version__,
    }
