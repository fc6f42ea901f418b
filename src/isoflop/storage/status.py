"""How far a store's stages are: what ran, what failed, what is being trained and what waits."""

from collections.abc import Mapping
from dataclasses import dataclass

from isoflop.errors import StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.lease import holder_of

__all__ = ["Standing", "forget_failed", "standings"]

UNPLANNED = "no stage"
"""Runs that no stored plan asked for: the sweep was handed to train() by itself."""


@dataclass(frozen=True)
class Standing:
    """One stage of a store."""

    stage: str
    ended: tuple[Run, ...]
    """Completed and diverged: a diverged run is a result, too."""
    failed: tuple[Run, ...]
    running: tuple[tuple[RunSpec, str], ...]
    """With who trains it."""
    waiting: tuple[RunSpec, ...]
    purpose: str = ""
    """What it was planned for, in words; empty where nothing says."""

    @property
    def num_runs(self) -> int:
        return len(self.ended) + len(self.failed) + len(self.running) + len(self.waiting)


def standings(store: DirectoryStore) -> list[Standing]:
    """Every stage of a store, and last the runs that belong to none."""
    runs = {run.id: run for run in store.read_runs()}
    stages = store.read_stages()
    asked = {name: {spec.id: spec for spec in specs} for name, (specs, _) in stages.items()}
    planned = {run_id for specs in asked.values() for run_id in specs}
    others = {run.id: run.spec for run in runs.values() if run.id not in planned}
    others |= {spec.id: spec for spec in store.read_specs(known=planned | runs.keys())}
    found = [
        _standing(store, name, asked[name], runs, plan.get("purpose", ""))
        for name, (_, plan) in stages.items()
    ]
    return [*found, _standing(store, UNPLANNED, others, runs)] if others else found


def forget_failed(store: DirectoryStore) -> list[Run]:
    """Remove the records of failed runs, so that the next train() tries them again; gives what was removed.

    Files that cannot be read are set aside. Raises StoreError, once all others are forgotten, for one that cannot be.
    """
    forgotten: list[Run] = []
    refused: list[StoreError] = []
    for run in store.read_runs():
        if run.status == "failed":
            try:
                store.remove_record(run.id)
                forgotten.append(run)
            except StoreError as error:
                refused.append(error)
    if refused:
        raise refused[0]
    return forgotten


def _standing(
    store: DirectoryStore,
    stage: str,
    specs: Mapping[str, RunSpec],
    runs: Mapping[str, Run],
    purpose: str = "",
) -> Standing:
    recorded = [runs[run_id] for run_id in specs if run_id in runs]
    left = [spec for run_id, spec in specs.items() if run_id not in runs]
    holders = {spec.id: holder_of(store.path / spec.id) for spec in left}
    return Standing(
        stage,
        ended=tuple(run for run in recorded if run.status != "failed"),
        failed=tuple(run for run in recorded if run.status == "failed"),
        running=tuple((spec, holder) for spec in left if (holder := holders[spec.id]) is not None),
        waiting=tuple(spec for spec in left if holders[spec.id] is None),
        purpose=purpose,
    )
