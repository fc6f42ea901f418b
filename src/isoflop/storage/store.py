"""Store: where specs and runs are kept. MemoryStore keeps them until the process ends."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from isoflop.runs import CurvePoint, Run, RunSpec

__all__ = ["MemoryStore", "Store"]


@runtime_checkable
class Store(Protocol):
    """What every store promises.

    A record that was written is complete and never changes unless the same run is trained again. Reading never waits
    for a writer. Several processes may write different runs at once.
    """

    def read_runs(self) -> list[Run]:
        """All recorded runs, in the order of their ids."""

    def read_run(self, run_id: str) -> Run | None:
        """One recorded run; None where there is none."""

    def write_run(self, run: Run) -> None:
        """Record what happened; the run's checkpoint is dropped, but for one that failed and may be tried again."""

    def write_spec(self, spec: RunSpec) -> None:
        """Note that a run was asked for."""

    def write_task(self, facts: Mapping[str, Any]) -> None:
        """Note what is being scaled, for people who open the store."""

    def read_stage(self, name: str) -> tuple[tuple[RunSpec, ...], Mapping[str, Any]] | None:
        """The specs of a stage that was planned earlier and the rest of its plan; None where there is none."""

    def write_stage(self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, Any]) -> None:
        """Keep a stage's plan before its first run, so that a restart continues the same plan.

        plan: what it says beside the specs, as values that JSON can hold.
        """

    def checkpoint(self, run_id: str) -> Path | None:
        """The file that a run's checkpoint is kept in; None for a store that keeps none."""

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        """Hold a run for a session while the block runs; gives None, or who has it where another session does."""

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        """Add points to a run's training curve."""

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        """Drop the points of a run's training curve beyond `num_tokens`; gives the points that stay."""


class MemoryStore:
    """A store that lives as long as its object: for tests, notebooks and simulations."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._stages: dict[str, tuple[tuple[RunSpec, ...], Mapping[str, Any]]] = {}
        self._curves: dict[str, list[CurvePoint]] = {}

    def read_runs(self) -> list[Run]:
        return [self._runs[run_id] for run_id in sorted(self._runs)]

    def read_run(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def write_run(self, run: Run) -> None:
        self._runs[run.id] = run

    def write_spec(self, spec: RunSpec) -> None:
        pass

    def write_task(self, facts: Mapping[str, Any]) -> None:
        pass

    def read_stage(self, name: str) -> tuple[tuple[RunSpec, ...], Mapping[str, Any]] | None:
        return self._stages.get(name)

    def write_stage(self, name: str, specs: tuple[RunSpec, ...], plan: Mapping[str, Any]) -> None:
        self._stages[name] = (specs, plan)

    def checkpoint(self, run_id: str) -> Path | None:
        return None

    def lease(self, run_id: str, session: str) -> AbstractContextManager[str | None]:
        return nullcontext()  # nobody else can see this store

    def append_curve(self, run_id: str, points: Iterable[CurvePoint]) -> None:
        self._curves.setdefault(run_id, []).extend(points)

    def cut_curve(self, run_id: str, num_tokens: float) -> list[CurvePoint]:
        kept = [point for point in self._curves.get(run_id, []) if point[0] <= num_tokens]
        self._curves[run_id] = kept
        return list(kept)
