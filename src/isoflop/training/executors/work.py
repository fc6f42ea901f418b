"""Work: what an executor does with one spec. Calling it trains the spec and gives its record, whatever happens."""

import gc
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from uuid import uuid4

import torch

from isoflop.display.format import one_line
from isoflop.errors import StoreError, first_line
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import BrokenDevice, Demand
from isoflop.training.interrupt import is_stop, leave, stop_requests
from isoflop.training.loop import CHECKPOINT_SECONDS, Progress, train_model, versions
from isoflop.training.notices import say
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

__all__ = ["Elsewhere", "Work"]


MOST_SAID = 1000
"""Characters of an error that its record keeps."""


@dataclass(frozen=True)
class Work:
    """Trains a spec of a task and records it in the store. Never raises for what the user's model or data do.

    A run that meets an error which passes is tried again from its checkpoint. Raises StoreError where the store cannot
    be written, and BrokenDevice where this process cannot train any more: neither is the run's failure.

    The run's lease is held meanwhile, by the process that trains: a store may be shared by many of them. A spec that
    another session is training comes back as `Elsewhere`, one that has a record by now as that record.
    """

    task: Task
    store: Store
    on_progress: Callable[[Progress], None] | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    trackers: tuple[str, ...] = ()
    demands: Mapping[str, Demand] = field(default_factory=dict)
    """By run id: what the plan predicts, for executors that place runs by it."""
    branches: Mapping[str, tuple[RunSpec, ...]] = field(default_factory=dict)
    """By run id: the runs that branch off its constant-rate trunk."""
    hang_seconds: float | None = None
    """Without a step after which a run is ended as failed; None for never."""
    expendable: bool = False
    """Whether the process may be ended for the sake of the others: it is a worker."""
    numerics: Mapping[str, Any] = field(default_factory=numerics)
    """Settings of the process where this was made, so that workers have the same."""
    session: str = field(default_factory=lambda: uuid4().hex)
    """Shared by all workers of one call of `train`."""

    def __call__(self, spec: RunSpec) -> Run:
        ranks = current_ranks()
        with ExitStack() as held:
            known = ranks.told(lambda: self._begin(spec, held))
            if known is not None:
                return known
            with stop_requests() as stop_requested:
                run = self._trained(spec, stop_requested)
                if ranks.is_first:
                    self.store.write_run(run)
            if (
                stop := stop_requested()
            ) is not None:  # asked while the run ended: it is recorded, now leave
                leave(stop)
            return run

    def _begin(self, spec: RunSpec, held: ExitStack) -> Run | None:
        """What is known of a run without training it: that somebody else does, or its record."""
        holder = held.enter_context(self.store.lease(spec.id, self.session))
        if holder is not None:
            return elsewhere(spec, holder)
        recorded = self.store.read_run(spec.id)
        if recorded is None:
            self.store.write_spec(spec)
        return recorded

    def _trained(self, spec: RunSpec, stop_requested: Callable[[], int | None]) -> Run:
        """The run's record, after as many tries as it takes while its errors are of those that pass."""
        for seconds in RETRY_SECONDS:
            run, may_pass = self._attempt(spec, stop_requested)
            if not may_pass:
                return run
            say(
                f"run {spec.id} met {run.error}; it is tried again from its checkpoint in {seconds:.0f} s."
            )
            gc.collect()  # what the error held: model, optimiser, data workers
            pause(seconds, stop_requested)
        run, _ = self._attempt(spec, stop_requested)
        tries = f"{run.error}, at the last of {len(RETRY_SECONDS) + 1} tries"
        return replace(run, error=tries) if run.status == "failed" else run

    def _attempt(self, spec: RunSpec, stop_requested: Callable[[], int | None]) -> tuple[Run, bool]:
        """The run's record, and whether another try may go better."""
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
        """Record what the user's code did wrong, and nothing where the device did; then leave it."""
        if "assert" in str(error) and current_ranks().is_first:
            self.store.write_run(failed)
        raise BrokenDevice(
            f"The device gives this process nothing but errors ({first_line(error):.100}); start the program again, "
            f"and the same call goes on from the last checkpoints."
        ) from error

    def _watched(self, spec: RunSpec) -> AbstractContextManager[None]:
        # one of several processes must not leave the others waiting for it
        end_seconds = self.hang_seconds if current_ranks().num_ranks == 1 else None
        return watched(spec, end_seconds, self._abandon(spec) if self.expendable else None)

    def _abandon(self, spec: RunSpec) -> Callable[[BaseException], None]:
        return lambda error: self.store.write_run(failed_run(spec, error))


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Run):
    """Stands for a run that somebody else is training; never recorded."""


def _may_pass(error: BaseException) -> bool:
    """Whether to try again: several processes do so only where all of them do."""
    return (
        is_passing(error) if current_ranks().num_ranks == 1 else isinstance(error, PassingElsewhere)
    )


def elsewhere(spec: RunSpec, holder: str) -> Elsewhere:
    return Elsewhere(
        spec=spec, status="failed", num_tokens=0, flops=0.0, error=f"{holder} is training it"
    )


def failed_run(spec: RunSpec, error: BaseException) -> Run:
    """The record of a run that raised, with the place where it did; what the error says may be of any length."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    reason = f"{type(error).__name__}: {one_line(error, MOST_SAID)}{where}"
    return Run(
        spec=spec, status="failed", num_tokens=0, flops=0.0, error=reason, versions=versions()
    )
