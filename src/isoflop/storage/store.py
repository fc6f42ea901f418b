"""Store: keeps records, stages and a workspace. MemoryStore keeps them until the process ends."""

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.telling import Telling

__all__ = ["MemoryStore", "RecordStore", "StageStore", "Store", "StoredStage", "Workspace"]

StoredStage = tuple[tuple[RunSpec, ...], Mapping[str, object]]
"""(specs of a stage, the rest of its plan as values that JSON can hold)."""


@runtime_checkable
class RecordStore(Protocol):
    """Runs that have started and runs that have ended.

    A written record is complete and never changes unless the same run is trained again. Reading
    never waits for a writer. Several processes may write different runs at once.
    """

    def read_runs(self) -> list[Run]:
        """All recorded runs, in the order of their ids."""

    def read_run(self, run_id: str) -> Run | None:
        """One recorded run; None where the store has no record of it."""

    def read_specs(self, *, known: Set[str] = frozenset()) -> list[RunSpec]:
        """Specs of all runs that have started, except those whose ids are known."""

    def write_spec(self, spec: RunSpec) -> None:
        """Record that a run has started."""

    def write_run(self, run: Run) -> None:
        """Record a run and drop its checkpoint; a failed run keeps it, to be tried again."""

    def remove_record(self, run_id: str) -> None:
        """Remove a run's record, so that the run is trained again, from its checkpoint if any."""

    def write_task(self, facts: Mapping[str, object]) -> None:
        """Record a description of the task, for people who open the store."""


class StageStore(Protocol):
    """Stages of a sweep as they were planned, so that a restart continues the same plan."""

    def read_stage(self, name: str) -> StoredStage | None:
        """A stage that was planned earlier; None where the store has no such stage."""

    def read_stages(self) -> dict[str, StoredStage]:
        """Every stage by name, in the order of planning."""

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        """Keep a stage before its first run.

        plan: the rest of the plan besides its specs, as values that JSON can hold.
        """


class Workspace(Protocol):
    """What runs need while they train: a place for checkpoints, leases and growing curves."""

    @property
    def folder(self) -> Path | None:
        """Folder for checkpoints and logs; None for a store without one."""

    def checkpoint(self, run_id: str) -> Path | None:
        """Path of a run's checkpoint; None for a store that keeps no checkpoints."""

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        """Hold a run for a session inside a block; give None, or the session that holds it."""

    def holder(self, run_id: str) -> str | None:
        """Holder of a run's lease, in words; None where the lease is free."""

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        """Add points to a run's training curve."""

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        """Drop the points of a curve beyond `num_tokens`; return the points that remain."""


@runtime_checkable
class Store(RecordStore, StageStore, Workspace, Protocol):
    """Protocol of a store to train in.

    Its three parts are protocols of their own: whoever reads runs, or plans, needs one of them.
    """


class MemoryStore(Telling):
    """A store in memory, for tests, notebooks and simulations; it is lost with its object."""

    folder = None

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._specs: dict[str, RunSpec] = {}
        self._stages: dict[str, StoredStage] = {}
        self._curves: dict[str, list[CurvePoint]] = {}
        self._sessions: dict[str, str] = {}

    def read_runs(self) -> list[Run]:
        return [self._runs[run_id] for run_id in sorted(self._runs)]

    def read_run(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def read_specs(self, *, known: Set[str] = frozenset()) -> list[RunSpec]:
        return [self._specs[run_id] for run_id in sorted(self._specs.keys() - known)]

    def write_spec(self, spec: RunSpec) -> None:
        self._specs[spec.id] = spec

    def write_run(self, run: Run) -> None:
        self._runs[run.id] = run

    def remove_record(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
        self._curves.pop(run_id, None)  # no checkpoint from which it would go on

    def write_task(self, facts: Mapping[str, object]) -> None:
        pass

    def read_stage(self, name: str) -> StoredStage | None:
        return self._stages.get(name)

    def read_stages(self) -> dict[str, StoredStage]:
        return dict(self._stages)

    def write_stage(
        self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, object]
    ) -> None:
        self._stages[name] = (specs, plan)

    def checkpoint(self, run_id: str) -> Path | None:
        return None

    @contextmanager
    def lease(self, run_id: str, session: str) -> Iterator[str | None]:
        if self._sessions.setdefault(run_id, session) != session:
            yield self.holder(run_id)
            return
        try:
            yield None
        finally:
            self._sessions.pop(run_id, None)

    def holder(self, run_id: str) -> str | None:
        return "another call in this process" if run_id in self._sessions else None

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        self._curves.setdefault(run_id, []).extend(points)

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        kept = [point for point in self._curves.get(run_id, []) if point[0] <= num_tokens]
        self._curves[run_id] = kept
        return list(kept)
