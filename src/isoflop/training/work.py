"""Work: what an executor does with one spec. Calling it trains the spec and gives its record, whatever happens."""

import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.text import one_line
from isoflop.training.executors.contract import Demand
from isoflop.training.interrupt import leave, stop_requests
from isoflop.training.loop import CHECKPOINT_SECONDS, Progress, train_model, versions
from isoflop.training.ranks import current_ranks

__all__ = ["Elsewhere", "Work"]


MOST_SAID = 1000
"""Characters of an error that its record keeps."""


@dataclass(frozen=True)
class Work:
    """Trains a spec of a task and records it in the store. Never raises for what the user's model or data do.

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
    session: str = field(default_factory=lambda: uuid4().hex)
    """Shared by all workers of one call of `train`."""

    def __call__(self, spec: RunSpec) -> Run:
        ranks = current_ranks()
        with ExitStack() as held:
            known = ranks.told(lambda: self._begin(spec, held))
            if known is not None:
                return known
            with stop_requests() as stop_requested:
                run = self._attempt(spec, stop_requested)
                if ranks.is_first:
                    self.store.write_run(run)
            if (stop := stop_requested()) is not None:  # asked while the run ended: it is recorded, now leave
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

    def _attempt(self, spec: RunSpec, stop_requested: Callable[[], int | None]) -> Run:
        try:
            return train_model(
                self.task,
                spec,
                self.store,
                on_progress=self.on_progress,
                checkpoint_seconds=self.checkpoint_seconds,
                trackers=self.trackers,
                stop_requested=stop_requested,
                branches=self.branches.get(spec.id, ()),
            )
        except Exception as error:  # the one place where a run's failure becomes a record
            return failed_run(spec, error)


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Run):
    """Stands for a run that somebody else is training; never recorded."""


def elsewhere(spec: RunSpec, holder: str) -> Elsewhere:
    return Elsewhere(spec=spec, status="failed", num_tokens=0, flops=0.0, error=f"{holder} is training it")


def failed_run(spec: RunSpec, error: BaseException) -> Run:
    """The record of a run that raised, with the place where it did; what the error says may be of any length."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    reason = f"{type(error).__name__}: {one_line(error, MOST_SAID)}{where}"
    return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=reason, versions=versions())
