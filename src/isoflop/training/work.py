"""Work: what an executor does with one spec. Calling it trains the spec and gives its record, whatever happens."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.loop import CHECKPOINT_SECONDS, Progress, train_model, versions

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """Trains a spec of a task and records it in the store. Never raises for what the user's model or data do."""

    task: Task
    store: Store
    on_progress: Callable[[Progress], None] | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def __call__(self, spec: RunSpec) -> Run:
        self.store.write_spec(spec)
        run = self._attempt(spec)
        self.store.write_run(run)
        return run

    def _attempt(self, spec: RunSpec) -> Run:
        try:
            return train_model(
                self.task,
                spec,
                self.store,
                on_progress=self.on_progress,
                checkpoint_seconds=self.checkpoint_seconds,
            )
        except Exception as error:  # the one place where a run's failure becomes a record
            return failed_run(spec, error)


def failed_run(spec: RunSpec, error: BaseException) -> Run:
    """The record of a run that raised, with the place where it did."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    reason = f"{type(error).__name__}: {error}{where}"
    return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=reason, versions=versions())
