"""Reports on stderr: train() was stopped, runs did not complete, what checks show."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from isoflop.display.format import LONG, one_line
from isoflop.fitting.checked_batches import find_batches
from isoflop.fitting.checked_rates import find_rates, reach_of
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import Store
from isoflop.training.notices import print_notice

__all__ = ["report_checks", "report_failures", "reporting_stop"]

MOST_REASONS = 3


@contextmanager
def reporting_stop(sweep: Sweep, store: Store, *, enabled: bool) -> Iterator[None]:
    """Inside the block Ctrl-C and SIGTERM print what is saved and how to continue."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if enabled:
            print_notice(_saved(sweep, store))
        raise


def _saved(sweep: Sweep, store: Store) -> str:
    ids = list({spec.id for spec in sweep.specs})
    ended = [run_id for run_id in ids if store.read_run(run_id) is not None]
    recorded = f"stopped with {len(ended)} of {len(ids)} runs recorded"
    if not isinstance(store, DirectoryStore):
        return f"{recorded} in the {type(store).__name__}; the same call with it goes on."
    begun = [run_id for run_id in ids if run_id not in ended and _has_checkpoint(store, run_id)]
    midway = f" and {len(begun)} saved midway" if begun else ""
    return (
        f"{recorded}{midway} in {store.path}; make the same call, or give the same command, to go "
        f"on from there."
    )


def _has_checkpoint(store: Store, run_id: str) -> bool:
    path = store.checkpoint(run_id)
    return path is not None and path.exists()


def report_failures(runs: Sequence[Run], store: Store) -> None:
    """Print how many runs did not complete and why; nothing if all did."""
    distinct = list({run.id: run for run in runs}.values())
    by_status = Counter(run.status for run in distinct)
    if by_status["completed"] == len(distinct):
        return
    counts = ", ".join(
        f"{by_status[name]} {name}"
        for name in ("completed", "diverged", "failed")
        if by_status[name]
    )
    print_notice(f"{len(distinct)} run{'s' if len(distinct) != 1 else ''}: {counts}.")
    reasons = Counter(
        one_line(run.error or "no reason", LONG) for run in distinct if run.status == "failed"
    )
    for reason, number in reasons.most_common(MOST_REASONS):
        print_notice(f"  {number} failed with {reason}")
    if len(reasons) > MOST_REASONS:
        print_notice(f"  and others for {len(reasons) - MOST_REASONS} more reasons, see Run.error")
    if reasons and isinstance(store, DirectoryStore):
        print_notice(
            f"failed runs are not tried again until they are forgotten: isoflop rerun {store.path}"
        )


def report_checks(sweep: Sweep, recorded: Mapping[str, Run]) -> None:
    """Print what the check of rates and batches shows, once all of its runs have ended."""
    checks = [recorded[spec.id] for spec in sweep.checks if spec.id in recorded]
    if len(checks) < len(sweep.checks):
        return
    for found in (find_rates(checks, reach_of(sweep.specs)), find_batches(checks, sweep.specs)):
        if found is not None:
            print_notice(str(found.note))
