"""Records of specs that several calls of train(), on any machines, may be training on one store."""

import time
from collections.abc import Generator, Iterator, Sequence
from functools import partial

from isoflop.display.format import format_flops, one_line
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.stored_work import Elsewhere, StoredWork, elsewhere
from isoflop.training.notices import print_notice
from isoflop.training.ranks import Ranks

__all__ = ["records"]

LOOK_SECONDS = 1.0
"""Interval between two checks of the runs of other programs."""
QUIET_SECONDS = 4.0
"""Waiting time before a line on stderr names the other programs."""
MOST_NAMED = 3


def records(
    executor: Executor, work: StoredWork, specs: list[RunSpec], ranks: Ranks
) -> Iterator[Run]:
    """The record of each spec, as soon as it exists.

    Runs of other programs are awaited; those left unfinished are trained here.
    """
    while specs:
        held: list[Elsewhere] = []
        done = executor.map(work, specs)
        try:
            for run in done:
                if isinstance(run, Elsewhere):
                    held.append(run)
                else:
                    yield run
        finally:
            if isinstance(done, Generator):
                done.close()
        specs, began, is_quiet = [], time.monotonic(), True
        while held and not specs:
            ended, specs, held = ranks.broadcast(partial(_check, work, held))
            yield from ended
            if held and not specs:
                if is_quiet and ranks.is_first and time.monotonic() - began > QUIET_SECONDS:
                    print_notice(_waiting(held))
                    is_quiet = False
                time.sleep(LOOK_SECONDS)


def _check(
    work: StoredWork, runs: Sequence[Elsewhere]
) -> tuple[list[Run], list[RunSpec], list[Elsewhere]]:
    """Runs of other programs by state: records of ended runs, specs free again, and runs held."""
    ended: list[Run] = []
    free: list[RunSpec] = []
    held: list[Elsewhere] = []
    for spec in (run.spec for run in runs):
        run = work.store.read_run(spec.id)
        if run is not None:
            ended.append(run)
        else:
            with work.store.lease(spec.id, work.session) as holder:
                if holder is None:
                    free.append(spec)
                else:
                    held.append(elsewhere(spec, holder))
    return ended, free, held


def _waiting(held: Sequence[Elsewhere]) -> str:
    """A line that names the awaited runs, and who trains each since when."""
    shown = [
        f"run {run.id} (size {one_line(run.size)}{_budget(run)}): {run.error}"
        for run in held[:MOST_NAMED]
    ]
    others = f"; and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
    runs = f"{len(held)} run{'s' if len(held) > 1 else ''}"
    return f"waiting for {runs} of another program: {'; '.join(shown)}{others}"


def _budget(run: Run) -> str:
    return "" if run.budget is None else f" at {format_flops(run.budget)} FLOPs"
