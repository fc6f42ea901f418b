"""Store: the protocol for keeping specs and runs. MemoryStore keeps them until the process ends."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.telling import Telling

__all__ = ["MemoryStore", "Store", "StoredStage"]

StoredStage = tuple[tuple[RunSpec, ...], Mapping[str, object]]
"""(specs of a stage, the rest of its plan as values that JSON can hold)."""


@runtime_checkable
class Store(Protocol):
    """Protocol of every store.

    A written record is complete and never changes unless the same run is trained again. Reading
    never waits for a writer. Several processes may write different runs at once.
    """

    def read_runs(self) -> list[Run]:
        """All recorded runs, in the order of their ids."""

    def read_run(self, run_id: str) -> Run | None:
        """One recorded run; None where the store has no record of it."""

    def write_run(self, run: Run) -> None:
        """Record a run and drop its checkpoint; a failed run keeps it, to be tried again."""

    def write_spec(self, spec: RunSpec) -> None:
        """Record that a run has started."""

    def write_task(self, facts: Mapping[str, object]) -> None:
        """Record a description of the task, for people who open the store."""

    def read_stage(self, name: str) -> StoredStage | None:
        """A stage that was planned earlier; None where the store has no such stage."""

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        """Keep a stage before its first run, so that a restart continues the same plan.

        plan: the rest of the plan besides its specs, as values that JSON can hold.
        """

    def checkpoint(self, run_id: str) -> Path | None:
        """Path of a run's checkpoint; None for a store that keeps no checkpoints."""

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        """Hold a run for a session inside a block; give None, or the session that holds it."""

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        """Add points to a run's training curve."""

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        """Drop the points of a curve beyond `num_tokens`; return the points that remain."""


class MemoryStore(Telling):
    """A store in memory, for tests, notebooks and simulations; it is lost with its object."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._stages: dict[str, StoredStage] = {}
        self._curves: dict[str, list[CurvePoint]] = {}

    def read_runs(self) -> list[Run]:
        return [self._runs[run_id] for run_id in sorted(self._runs)]

    def read_run(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def write_run(self, run: Run) -> None:
        self._runs[run.id] = run

    def write_spec(self, spec: RunSpec) -> None:
        pass

    def read_spec(self, run_id: str) -> RunSpec | None:
        """The spec of a run that is recorded or planned in a stage; None for any other id."""
        if run_id in self._runs:
            return self._runs[run_id].spec
        planned = (spec for specs, _ in self._stages.values() for spec in specs)
        return next((spec for spec in planned if spec.id == run_id), None)

    def write_task(self, facts: Mapping[str, object]) -> None:
        pass

    def read_stage(self, name: str) -> StoredStage | None:
        return self._stages.get(name)

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        self._stages[name] = (specs, plan)

    def checkpoint(self, run_id: str) -> Path | None:
        return None

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        return nullcontext()  # no other process can use this store

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        self._curves.setdefault(run_id, []).extend(points)

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        kept = [point for point in self._curves.get(run_id, []) if point[0] <= num_tokens]
        self._curves[run_id] = kept
        return list(kept)
