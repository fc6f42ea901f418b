"""TaskWork: trains specs of a task by isoflop's own loop."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace

import torch

from isoflop.errors import StoreError, first_line
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.data_workers import AS_LOADED, DataWorkers
from isoflop.training.executors.contract import (
    CHECKPOINT_SECONDS,
    BrokenDevice,
    Demand,
    OnProgress,
)
from isoflop.training.executors.stored_work import (
    StopRequested,
    StoredWork,
    failed_run,
    new_session,
)
from isoflop.training.interrupt import is_stop, leave, stop_requests
from isoflop.training.loop import train_model
from isoflop.training.packed_loop import train_pack
from isoflop.training.packing import Packs, one_by_one
from isoflop.training.ranks import current_ranks
from isoflop.training.reading import close_workers
from isoflop.training.retries import LeftAlone, is_of_device
from isoflop.training.stack import NotPacked
from isoflop.training.watchdog import watched
from isoflop.user_code.isolation import kept, numerics, use_numerics

__all__ = ["TaskWork"]


@dataclass(frozen=True)
class TaskWork(StoredWork):
    """Trains specs of a task by isoflop's own loop, each try from the last checkpoint."""

    task: Task
    store: Store
    on_progress: OnProgress | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    trackers: tuple[str, ...] = ()
    demands: Mapping[str, Demand] = field(default_factory=dict)
    branches: Mapping[str, tuple[RunSpec, ...]] = field(default_factory=dict)
    """By run id: the runs that branch off its constant-rate trunk."""
    packs: Packs = field(default_factory=dict)
    """By id of its first run: the runs that are trained with it in one program."""
    data_workers: DataWorkers = AS_LOADED
    hang_seconds: float | None = None
    """Time without a step after which a run is ended as failed; None for never."""
    numerics: Mapping[str, object] = field(default_factory=numerics)
    """Numeric settings of the process that created this object, which workers adopt."""
    expendable: bool = False
    session: str = field(default_factory=new_session)
    told: set[str] = field(default_factory=set)
    """Reasons against packs that this process has given."""

    def __call__(self, spec: RunSpec) -> Run:
        if spec.id in self.packs:
            self._train_pack(self.packs[spec.id])
        return super().__call__(spec)  # its record, or the run alone

    def mates(self, run_id: str) -> Sequence[RunSpec]:
        return self.packs.get(run_id, ())[1:]

    def stops(self) -> AbstractContextManager[StopRequested]:
        return stop_requests()

    def trained(self, spec: RunSpec, stop_requested: StopRequested) -> Run:
        with self._as_called(spec):
            run = train_model(
                self.task,
                spec,
                self.store,
                on_progress=self.on_progress,
                checkpoint_seconds=self.checkpoint_seconds,
                trackers=self.trackers,
                data_workers=self.data_workers,
                stop_requested=stop_requested,
                branches=self.branches.get(spec.id, ()),
                sharded=self.demands.get(spec.id, Demand()).sharded,
            )
        return replace(run, predicted_seconds=self._predicted_seconds(spec))

    def _train_pack(self, pack: Sequence[RunSpec]) -> None:
        """Train and record runs in one program; those that it cannot train have no record then."""
        with ExitStack() as held, self.stops() as stop_requested:
            free = [spec for spec in pack if self._begin(spec, held) is None]
            try:
                if len(free) > 1:
                    self._record_pack(free, stop_requested)
            except StoreError:
                raise
            except BaseException as error:  # each run alone shows whose it is
                if is_stop(error, stop_requested()):
                    raise
                self._part(error)
            stop = stop_requested()
        if stop is not None:
            leave(stop)

    def _record_pack(self, specs: Sequence[RunSpec], stop_requested: StopRequested) -> None:
        with self._as_called(specs[0]):
            # of torch.func, for operations that it repeats run by run
            warnings.filterwarnings("ignore", message="There is a performance drop")
            runs = train_pack(
                self.task,
                specs,
                self.store,
                on_progress=self.on_progress,
                checkpoint_seconds=self.checkpoint_seconds,
                data_workers=self.data_workers,
                stop_requested=stop_requested,
            )
            with closing(runs):
                for run in runs:
                    predicted = self._predicted_seconds(run.spec)
                    self.store.write_run(replace(run, predicted_seconds=predicted))

    def _part(self, error: BaseException) -> None:
        """Say why the runs of a pack are trained one by one.

        Raises BrokenDevice where the device is at fault.
        """
        if is_of_device(error):
            raise BrokenDevice(
                f"The device gives this process nothing but errors ({first_line(error):.100}); "
                f"train with packed=False to see in which run."
            ) from error
        named = f"{type(error).__name__}: {first_line(error):.150}"
        reason = str(error) if isinstance(error, NotPacked) else named
        if reason not in self.told:
            self.told.add(reason)
            one_by_one(reason)

    @contextmanager
    def _as_called(self, spec: RunSpec) -> Iterator[None]:
        """A block with the settings of the caller's process, which nothing in it changes."""
        with kept(), torch.enable_grad(), self._watched(spec):
            use_numerics(self.numerics)
            yield

    def _predicted_seconds(self, spec: RunSpec) -> float | None:
        """The plan's prediction, which is for one device."""
        demand = self.demands.get(spec.id, Demand())
        return demand.seconds if demand.num_devices == 1 else None

    def close(self) -> None:
        close_workers()

    def device_failed(self, failed: Run, error: BaseException) -> None:
        """Raise BrokenDevice where the device is at fault, which ends this process's part.

        The failure is recorded if the user's code caused it.
        """
        if isinstance(error, LeftAlone):
            raise BrokenDevice(str(error)) from error
        if not is_of_device(error):
            return
        if "assert" in str(error) and current_ranks().is_first:
            self.store.write_run(failed)
        raise BrokenDevice(
            f"The device gives this process nothing but errors ({first_line(error):.100}); start "
            f"the program again, and the same call goes on from the last checkpoints."
        ) from error

    def _watched(self, spec: RunSpec) -> AbstractContextManager[None]:
        # none of several processes may leave the others waiting for it
        end_seconds = self.hang_seconds if current_ranks().num_ranks == 1 else None
        return watched(spec, end_seconds, self._abandon(spec) if self.expendable else None)

    def _abandon(self, spec: RunSpec) -> Callable[[BaseException], None]:
        return lambda error: self.store.write_run(failed_run(spec, error))
