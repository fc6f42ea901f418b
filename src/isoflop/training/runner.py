"""train(): hands the specs of a sweep without a record to an executor, and collects the records."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Literal, cast

from isoflop import arguments
from isoflop.counting.sizes_of import sizes_of
from isoflop.errors import IsoflopError, PlanError
from isoflop.family import Family
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run, RunSpec, TrainedRuns
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import RecordStore, Store
from isoflop.task import Task
from isoflop.training.data_workers import DataWorkers, data_workers_of
from isoflop.training.executors.contract import CHECKPOINT_SECONDS, Demand, Executor
from isoflop.training.executors.devices import (
    Sharding,
    check_devices,
    devices_of,
    needs_sharding,
    num_devices,
)
from isoflop.training.executors.from_string import executor_from
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.slurm import Slurm
from isoflop.training.executors.stored_work import StoredWork
from isoflop.training.interrupt import terminated_as_exit
from isoflop.training.packing import Packs, planned_packs, with_mates_last
from isoflop.training.progress import show_progress
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.shared_store import records
from isoflop.training.summaries import report_checks, report_failures, reporting_stop
from isoflop.training.sweep_checks import check_elsewhere, check_sweep, description
from isoflop.training.trackers import check_trackers
from isoflop.training.trainer import Checked, Trainer, TrainerWork, check_trainer, report_others

__all__ = ["Executor", "executor_of", "open_store", "train"]


def train(
    task: Task | Family,
    sweep: Sweep,
    *,
    trainer: Trainer | None = None,
    store: str | os.PathLike[str] | Store,
    executor: Executor | str | None = None,
    devices_per_run: int | Literal["auto"] = "auto",
    sharding: bool | Literal["auto"] = "auto",
    on_record: Callable[[Run], None] | None = None,
    progress: bool = True,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    trackers: Sequence[str] = (),
    hang_seconds: float | None = None,
    data_workers: int | Literal["auto"] = "auto",
    packed: bool = False,
) -> TrainedRuns:
    """Train the runs of a sweep and return them in its order.

    Runs with a record in the store are not trained again. The short runs that check the sweep's
    learning rates are trained first and are in `checks` of the list; a line on stderr says what
    they show.

    trainer: function (spec, folder) -> held-out loss, or a dict with `loss` and, where they are
        known, `num_tokens`, `flops`, `metrics`, `curve`, `seconds`; or a `Command`. The folder is
        the run's own and survives a retry. None trains a `Task` by isoflop's own loop.
    store: a folder's path, or a Store.
    executor: where runs are trained, such as Processes(8) or "processes:8"; None for one after the
        other in this process.
    devices_per_run: number of devices to spread each run over, if the executor can; "auto" for
        one, or the fewest of 1, 2, 4, 8 that hold the run, sharded if need be. Under
        `torchrun` it is the number of ranks.
    sharding: whether the devices of a run store a part each of its weights, gradients and optimiser
        states (PyTorch's FSDP2), instead of all of them; "auto" for the runs that do not fit
        otherwise.
    on_record: called with each new record, for example to redraw a page.
    progress: show runs done, tokens per second, time left and the best loss of each budget.
    trackers: experiment trackers to log each run to: "tensorboard", "wandb", "mlflow", "trackio".
    checkpoint_seconds: interval between checkpoints of a run, and so the most that a killed run
        loses.
    hang_seconds: time without a step after which a run is ended as failed; give several times the
        duration of a step, a batch of the evaluation and the compilation, and of what a resumed
        run reads anew of a stream without a state. None to only name the run and its position on
        stderr, from ten minutes on.
    data_workers: number of processes that read the data of each run ahead, 0 for the one that
        trains; "auto" for the `num_workers` of a DataLoader, and for data without any as many as
        slow reading needs, on cores that no run trains on. Losses do not depend on it.
    packed: train runs of one size, tokens and batch, which differ in seed, learning rate or weight
        decay, in one program (`torch.func`), as far as the model allows; otherwise one by one, and
        a line on stderr says why. Tiny runs take less time; losses differ in the last digits.

    A run that diverges or raises comes back with that status and its reason, and a summary on
    stderr counts them; failed runs are not tried again until `isoflop rerun` forgets them. Ctrl-C
    stops after saving checkpoints, and so does SIGTERM (exit code 75); a line on stderr lists what
    is saved, and the same call continues from there.

    Under `torchrun` every process calls this function; all of them train each run together, and
    the first one writes.

    Raises
    ------
    PlanError
        For an empty sweep, one planned for another task, a pool of workers under `torchrun`, a
        number of devices that the executor cannot give, or a run whose states alone exceed the
        memory of its devices.
    ContractError
        For a tracker that is not installed, an optimiser that the recipe's factories cannot build,
        or a state that cannot be saved.
    StoreError
        If the store cannot be written. This is not a failure of a run: the same call continues.
    """
    sizes = sizes_of(task, "train: task")
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
    if not isinstance(sharding, bool) and sharding != "auto":
        raise arguments.refused(
            sharding, "train: sharding", '"auto", True or False', error=PlanError
        )
    packed = arguments.flag(packed, "train: packed", error=PlanError)
    if on_record is not None and not callable(on_record):
        raise arguments.refused(
            on_record, "train: on_record", "a function of a Run", error=PlanError
        )
    store, ranks = open_store(store), current_ranks()
    planned, sweep = sweep, replace(sweep, specs=(*sweep.checks, *sweep.specs), checks=())
    check_sweep(sizes, sweep, executor, ranks, own_loop=trainer is None)
    trackers = check_trackers(trackers)
    if hang_seconds is not None:
        hang_seconds = float(
            arguments.positive(hang_seconds, "train: hang_seconds", error=PlanError)
        )
    check_trainer(task, trainer)
    if trainer is not None:
        own = {
            "trackers": bool(trackers),
            "hang_seconds": hang_seconds is not None,
            "data_workers": data_workers != "auto",
            "packed runs": packed,
        }
        check_elsewhere(executor, ranks, devices_per_run, own)
    reading = data_workers_of(data_workers, executor, len(sweep.specs), ranks.num_ranks)
    recorded = ranks.broadcast(lambda: _recorded(task, trainer, sweep, store))
    if trainer is not None:
        report_others(trainer, recorded.values())
    todo = [
        spec
        for run_id, spec in {spec.id: spec for spec in sweep.specs}.items()
        if run_id not in recorded
    ]
    if todo:
        if trainer is None:
            demands = _demands(sweep, todo, devices_per_run, sharding, executor, ranks)
            own_task = cast(Task, task)
            packs = (
                planned_packs(
                    own_task,
                    todo,
                    demands,
                    executor=executor,
                    store=store,
                    ranks=ranks,
                    trackers=trackers,
                )
                if packed
                else {}
            )
            waiting, work = _own_work(
                own_task,
                store,
                todo,
                demands,
                checkpoint_seconds=checkpoint_seconds,
                trackers=trackers,
                hang_seconds=hang_seconds,
                data_workers=reading,
                packs=packs,
            )
        else:
            waiting, work = _work_of(trainer, store, todo, sweep, executor)
        shown = show_progress(sweep, recorded.values(), enabled=progress and ranks.is_first)
        with (
            reporting_stop(sweep, store, enabled=ranks.is_first),
            shown as display,
            closing(work),
            terminated_as_exit(),
        ):
            reported = work.reporting_to(display.update)
            # closed before reporting_stop counts checkpoints: closing makes the workers save
            with closing(_records_of(waiting, executor, reported, ranks)) as done:
                for run in done:
                    # an executor without workers of its own, or a store in memory
                    if ranks.is_first and store.read_run(run.id) is None:
                        store.write_run(run)
                    recorded[run.id] = run
                    display.finish(run)
                    if run.spec.checked_lr is not None and ranks.is_first:
                        report_checks(planned, recorded)
                    if on_record is not None and ranks.is_first:
                        on_record(run)
    checks = [recorded[spec.id] for spec in planned.checks]
    runs = TrainedRuns([recorded[spec.id] for spec in planned.specs], checks)
    if ranks.is_first:
        report_failures([*runs, *(run for run in checks if run.status == "failed")], store)
    return runs


def _records_of(
    waiting: Sequence[list[RunSpec]], executor: Executor, work: StoredWork, ranks: Ranks
) -> Generator[Run, None, None]:
    """Records of the waves of runs, one wave after the other."""
    recorded: set[str] = set()
    for specs in waiting:
        left = [spec for spec in specs if spec.id not in recorded]
        for run in records(executor, work, left, ranks):
            yield run
            for mate in work.mates(run.id):
                found = work.store.read_run(mate.id)
                if found is not None:
                    recorded.add(mate.id)
                    yield replace(found, spec=mate)


def executor_of(value: object, function: str) -> Executor:
    """The executor of a value, a class or a name such as processes:8; InProcess() for None."""
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
    """The store itself, or the one in the named folder."""
    if isinstance(store, str | os.PathLike):
        return DirectoryStore(store)
    if not isinstance(store, Store):
        raise arguments.refused(store, "store", "a folder's path or a Store", error=IsoflopError)
    return store


def _own_work(
    task: Task,
    store: Store,
    todo: list[RunSpec],
    demands: Mapping[str, Demand],
    *,
    checkpoint_seconds: float,
    trackers: tuple[str, ...],
    hang_seconds: float | None,
    data_workers: DataWorkers,
    packs: Packs,
) -> tuple[Sequence[list[RunSpec]], StoredWork]:
    """Waves of specs, and work that trains them by isoflop's own loop."""
    from isoflop.training.branches import branches_of, waves  # these need torch
    from isoflop.training.executors.work import TaskWork
    from isoflop.training.rehearsal import rehearse

    rehearse(task, min(todo, key=lambda spec: spec.num_params), hang_seconds)
    waiting = with_mates_last(waves(todo), packs)
    work = TaskWork(
        task,
        store,
        checkpoint_seconds=checkpoint_seconds,
        trackers=trackers,
        demands=demands,
        branches=branches_of(*waves(todo)),
        hang_seconds=hang_seconds,
        data_workers=data_workers,
        packs=packs,
    )
    return waiting, work


def _work_of(
    trainer: Trainer, store: Store, todo: list[RunSpec], sweep: Sweep, executor: Executor
) -> tuple[Sequence[list[RunSpec]], StoredWork]:
    """All specs as one wave, and work that trains them by the user's trainer."""
    if isinstance(trainer, Checked):
        trainer.check(todo, is_here=isinstance(executor, InProcess | Processes))
    demands = {spec.id: Demand(memory_bytes=sweep.memory_bytes.get(spec.id)) for spec in todo}
    return [todo], TrainerWork(trainer, store, demands=demands)


def _recorded(
    task: Task | Family, trainer: Trainer | None, sweep: Sweep, store: RecordStore
) -> dict[str, Run]:
    """By id: the store's records of a sweep, after writing the task's description to the store."""
    store.write_task(description(task, trainer, sweep))
    stored = {
        spec.id: (spec, run) for spec in sweep.specs if (run := store.read_run(spec.id)) is not None
    }
    # the sweep's spec is complete, that of the files may not be
    return {
        run_id: replace(run, spec=spec) if run.spec != spec else run
        for run_id, (spec, run) in stored.items()
    }


def _demands(
    sweep: Sweep,
    todo: Sequence[RunSpec],
    requested: int | Literal["auto"],
    sharding: Sharding,
    executor: Executor,
    ranks: Ranks,
) -> dict[str, Demand]:
    """By run id: the plan's predictions, and the run's number of devices."""
    devices = devices_of(executor, ranks.num_ranks)
    check_devices(executor, devices, requested, todo, sharding)
    demands = {}
    for spec in todo:
        known = sweep.memory_bytes.get(spec.id)
        number = num_devices(spec, known, devices, requested, sharding)
        parted = needs_sharding(spec, known, devices, number, sharding)
        demands[spec.id] = Demand(sweep.seconds.get(spec.id), known, number, parted)
    return demands
