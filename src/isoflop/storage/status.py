"""Progress of a store's stages: runs that ended, failed, are trained, wait or were replaced."""

from collections.abc import Mapping
from dataclasses import dataclass

from isoflop.errors import StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import RecordStore, Store

__all__ = ["TUNED", "StageStatus", "clear_failed", "stage_statuses"]

TUNED = "tuned"
"""Part of a stored plan that says what was tuned in its place; None or absent where it stands."""

UNPLANNED = "no stage"
"""Name for runs of no stored plan: their sweep was passed to train() directly."""
CHECKS = "checks of learning rates and batches"
"""Name for the runs beside all stages that check these."""


@dataclass(frozen=True)
class StageStatus:
    """Progress of one stage of a store."""

    stage: str
    ended: tuple[Run, ...]
    """Completed and diverged runs: a diverged run is a result too."""
    failed: tuple[Run, ...]
    running: tuple[tuple[RunSpec, str], ...]
    """(spec, process that trains it)."""
    waiting: tuple[RunSpec, ...]
    purpose: str = ""
    """Purpose of the stage, in words; empty where it is unknown."""
    replaced: tuple[RunSpec, ...] = ()
    """Runs that nobody trains: their learning rates were tuned, and planned anew."""

    @property
    def num_runs(self) -> int:
        left = (*self.running, *self.waiting, *self.replaced)
        return len(self.ended) + len(self.failed) + len(left)


def stage_statuses(store: Store) -> list[StageStatus]:
    """Progress of every stage of a store, followed by the runs that belong to no stage."""
    runs = {run.id: run for run in store.read_runs()}
    stages = store.read_stages()
    specs_of = {name: {spec.id: spec for spec in specs} for name, (specs, _) in stages.items()}
    planned = {run_id for specs in specs_of.values() for run_id in specs}
    others = {run.id: run.spec for run in runs.values() if run.id not in planned}
    others |= {spec.id: spec for spec in store.read_specs(known=planned | runs.keys())}
    progress = [
        _status(store, name, specs_of[name], runs, plan) for name, (_, plan) in stages.items()
    ]
    checks = {run_id: spec for run_id, spec in others.items() if spec.checked_lr is not None}
    unplanned = {run_id: spec for run_id, spec in others.items() if run_id not in checks}
    for name, specs in ((CHECKS, checks), (UNPLANNED, unplanned)):
        if specs:
            progress.append(_status(store, name, specs, runs))
    return progress


def clear_failed(store: RecordStore) -> list[Run]:
    """Remove the records of failed runs, so that the next train() tries them again.

    Returns the runs removed. Files that cannot be read are set aside. Raises StoreError for a
    record that cannot be removed, after all others are removed.
    """
    removed: list[Run] = []
    errors: list[StoreError] = []
    for run in store.read_runs():
        if run.status == "failed":
            try:
                store.remove_record(run.id)
                removed.append(run)
            except StoreError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return removed


def _status(
    store: Store,
    stage: str,
    specs: Mapping[str, RunSpec],
    runs: Mapping[str, Run],
    plan: Mapping[str, object] | None = None,
) -> StageStatus:
    plan = plan or {}
    recorded = [runs[run_id] for run_id in specs if run_id in runs]
    left = [spec for run_id, spec in specs.items() if run_id not in runs]
    holders = {spec.id: store.holder(spec.id) for spec in left}
    free = tuple(spec for spec in left if holders[spec.id] is None)
    is_replaced = plan.get(TUNED) is not None
    return StageStatus(
        stage,
        ended=tuple(run for run in recorded if run.status != "failed"),
        failed=tuple(run for run in recorded if run.status == "failed"),
        running=tuple((spec, holder) for spec in left if (holder := holders[spec.id]) is not None),
        waiting=() if is_replaced else free,
        purpose=str(plan.get("purpose", "")),
        replaced=free if is_replaced else (),
    )
