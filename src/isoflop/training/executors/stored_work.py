"""StoredWork: does a spec and records it; a failed run becomes a record, too."""

import gc
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Self
from uuid import uuid4

from isoflop.display.format import one_line
from isoflop.errors import StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.training.executors.contract import Demand, OnProgress
from isoflop.training.interrupt import is_stop, leave
from isoflop.training.notices import print_notice
from isoflop.training.ranks import current_ranks
from isoflop.training.retries import RETRY_SECONDS, PassingElsewhere, is_passing, pause
from isoflop.training.versions import versions

__all__ = ["Elsewhere", "StopRequested", "StoredWork", "elsewhere", "failed_run", "new_session"]

ERROR_LENGTH = 1000
"""Characters of an error that its record keeps."""

StopRequested = Callable[[], int | None]
"""Gives the number of the signal that requested a stop, or None."""


class StoredWork(ABC):
    """Trains specs and records them in the store.

    Errors of the user's code are never raised: they become the record of a failed run. A run with a
    transient error is tried again. Raises StoreError if the store cannot be written, and
    BrokenDevice if this process cannot train any more: neither is a failure of the run.

    While a run trains, its process holds the run's lease, since many processes may share a store.
    A spec that another session is training comes back as `Elsewhere`. A spec with a record comes
    back as that record.

    Subclasses are frozen dataclasses with these fields:

    demands: by run id, predictions of the plan, by which executors place runs.
    expendable: whether the process is a worker, which may be ended for the sake of the others.
    session: shared by all workers of one call of `train`, see `new_session`.
    """

    store: Store
    on_progress: OnProgress | None
    demands: Mapping[str, Demand]
    expendable: bool
    session: str

    @abstractmethod
    def stops(self) -> AbstractContextManager[StopRequested]:
        """A block in which signals that request a stop are noted."""

    @abstractmethod
    def trained(self, spec: RunSpec, stop_requested: StopRequested) -> Run:
        """Train a spec, from where an earlier try ended."""

    def __call__(self, spec: RunSpec) -> Run:
        ranks = current_ranks()
        with ExitStack() as held:
            known = ranks.broadcast(lambda: self._begin(spec, held))
            if known is not None:
                return known
            with self.stops() as stop_requested:
                run = self._recorded(spec, stop_requested)
                if ranks.is_first:
                    self.store.write_run(run)
            stop = stop_requested()
            if stop is not None:  # requested while the run ended; the run is recorded
                leave(stop)
            return run

    def reporting_to(self, on_progress: OnProgress | None) -> Self:
        """The same work with another receiver of progress."""
        return replace(self, on_progress=on_progress)  # type: ignore[type-var]

    def in_worker(self, on_progress: OnProgress) -> Self:
        """The same work for a worker process, which may be ended when a run hangs."""
        return replace(self, on_progress=on_progress, expendable=True)  # type: ignore[type-var]

    def mates(self, run_id: str) -> Sequence[RunSpec]:
        """Other specs that the work of this one trains, too, as far as it can."""
        return ()

    def close(self) -> None:  # noqa: B027
        """End what was kept in this process from run to run."""

    def device_failed(self, failed: Run, error: BaseException) -> None:  # noqa: B027
        """Called with each failure; raises BrokenDevice where this process can train no more."""

    def _begin(self, spec: RunSpec, held: ExitStack) -> Run | None:
        """The run if it need not be trained here: it has a record, or another session trains it."""
        holder = held.enter_context(self.store.lease(spec.id, self.session))
        if holder is not None:
            return elsewhere(spec, holder)
        recorded = self.store.read_run(spec.id)
        if recorded is None:
            self.store.write_spec(spec)
        return recorded

    def _recorded(self, spec: RunSpec, stop_requested: StopRequested) -> Run:
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

    def _attempt(self, spec: RunSpec, stop_requested: StopRequested) -> tuple[Run, bool]:
        """The run's record, and whether another try may succeed."""
        try:
            return self.trained(spec, stop_requested), False
        except StoreError:
            raise
        except BaseException as error:  # the one place where a run's failure becomes a record
            if is_stop(error, stop_requested()):
                raise
            failed = failed_run(spec, error)
            self.device_failed(failed, error)
            return failed, _may_pass(error)


def new_session() -> str:
    """A name for the leases of one call of `train`."""
    return uuid4().hex


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
