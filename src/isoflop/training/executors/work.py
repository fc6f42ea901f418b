"""TaskWork: trains and records the specs of one task; a failed run becomes a record, too."""

import gc
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import NoReturn
from uuid import uuid4

import torch

from isoflop.display.format import one_line
from isoflop.errors import StoreError, first_line
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import BrokenDevice, Demand, OnProgress
from isoflop.training.interrupt import is_stop, leave, stop_requests
from isoflop.training.loop import CHECKPOINT_SECONDS, train_model, versions
from isoflop.training.notices import print_notice
from isoflop.training.ranks import current_ranks
from isoflop.training.retries import (
    RETRY_SECONDS,
    PassingElsewhere,
    is_of_device,
    is_passing,
    pause,
)
from isoflop.training.watchdog import watched
from isoflop.user_code.isolation import kept, numerics, use_numerics

__all__ = ["Elsewhere", "TaskWork"]


ERROR_LENGTH = 1000
"""Characters of an error that its record keeps."""


@dataclass(frozen=True)
class TaskWork:
    """Trains specs of a task and records them in the store.

    Errors of the user's model or data are never raised: they become the record of a failed run. A
    run with a transient error is tried again from its checkpoint. Raises StoreError if the store
    cannot be written, and BrokenDevice if this process cannot train any more: neither is a failure
    of the run.

    While a run trains, its process holds the run's lease, since many processes may share a store.
    A spec that another session is training comes back as `Elsewhere`. A spec with a record comes
    back as that record.
    """

    task: Task
    store: Store
    on_progress: OnProgress | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    trackers: tuple[str, ...] = ()
    demands: Mapping[str, Demand] = field(default_factory=dict)
    """By run id: predictions of the plan, by which executors place runs."""
    branches: Mapping[str, tuple[RunSpec, ...]] = field(default_factory=dict)
    """By run id: the runs that branch off its constant-rate trunk."""
    hang_seconds: float | None = None
    """Time without a step after which a run is ended as failed; None for never."""
    expendable: bool = False
    """Whether the process is a worker, which may be ended for the sake of the others."""
    numerics: Mapping[str, object] = field(default_factory=numerics)
    """Numeric settings of the process that created this object, which workers adopt."""
    session: str = field(default_factory=lambda: uuid4().hex)
    """Shared by all workers of one call of `train`."""

    def __call__(self, spec: RunSpec) -> Run:
        ranks = current_ranks()
        with ExitStack() as held:
            known = ranks.broadcast(lambda: self._begin(spec, held))
            if known is not None:
                return known
            with stop_requests() as stop_requested:
                run = self._trained(spec, stop_requested)
                if ranks.is_first:
                    self.store.write_run(run)
            stop = stop_requested()
            if stop is not None:  # requested while the run ended; the run is recorded
                leave(stop)
            return run

    def reporting_to(self, on_progress: OnProgress | None) -> "TaskWork":
        """The same work with another receiver of progress."""
        return replace(self, on_progress=on_progress)

    def in_worker(self, on_progress: OnProgress) -> "TaskWork":
        """The same work for a worker process, which may be ended when a run hangs."""
        return replace(self, on_progress=on_progress, expendable=True)

    def _begin(self, spec: RunSpec, held: ExitStack) -> Run | None:
        """The run if it need not be trained here: it has a record, or another session trains it."""
        holder = held.enter_context(self.store.lease(spec.id, self.session))
        if holder is not None:
            return elsewhere(spec, holder)
        recorded = self.store.read_run(spec.id)
        if recorded is None:
            self.store.write_spec(spec)
        return recorded

    def _trained(self, spec: RunSpec, stop_requested: Callable[[], int | None]) -> Run:
        """The run's record, after further tries while its errors are transient."""
        for seconds in RETRY_SECONDS:
            run, may_pass = self._attempt(spec, stop_requested)
            if not may_pass:
                return run
            print_notice(
                f"run {spec.id} met {run.error}; "
                f"it is tried again from its checkpoint in {seconds:.0f} s."
            )
            gc.collect()  # objects that the error refers to: model, optimiser, data workers
            pause(seconds, stop_requested)
        run, _ = self._attempt(spec, stop_requested)
        tries = f"{run.error}, at the last of {len(RETRY_SECONDS) + 1} tries"
        return replace(run, error=tries) if run.status == "failed" else run

    def _attempt(self, spec: RunSpec, stop_requested: Callable[[], int | None]) -> tuple[Run, bool]:
        """The run's record, and whether another try may succeed."""
        try:
            with kept(), torch.enable_grad(), self._watched(spec):
                use_numerics(self.numerics)
                run = train_model(
                    self.task,
                    spec,
                    self.store,
                    on_progress=self.on_progress,
                    checkpoint_seconds=self.checkpoint_seconds,
                    trackers=self.trackers,
                    stop_requested=stop_requested,
                    branches=self.branches.get(spec.id, ()),
                )
        except StoreError:
            raise
        except BaseException as error:  # the one place where a run's failure becomes a record
            if is_stop(error, stop_requested()):
                raise
            failed = failed_run(spec, error)
            if is_of_device(error):
                self._leave_device(failed, error)
            return failed, _may_pass(error)
        return run, False

    def _leave_device(self, failed: Run, error: BaseException) -> NoReturn:
        """Raise BrokenDevice, after recording the failure if the user's code caused it."""
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


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Run):
    """Placeholder for a run that another session is training; never recorded."""


def _may_pass(error: BaseException) -> bool:
    """Whether to try again; several processes do so only if all of them do."""
    return (
        is_passing(error) if current_ranks().num_ranks == 1 else isinstance(error, PassingElsewhere)
    )


def elsewhere(spec: RunSpec, holder: str) -> Elsewhere:
    return Elsewhere(
        spec=spec, status="failed", num_tokens=0, flops=0.0, error=f"{holder} is training it"
    )


def failed_run(spec: RunSpec, error: BaseException) -> Run:
    """The record of a run that raised, with the shortened error and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    reason = f"{type(error).__name__}: {one_line(error, ERROR_LENGTH)}{where}"
    return Run(
        spec=spec, status="failed", num_tokens=0, flops=0.0, error=reason, versions=versions()
    )
