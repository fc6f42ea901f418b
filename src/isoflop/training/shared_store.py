"""Records of specs that several calls of train(), on any machines, may be training on one store."""

import sys
import time
from collections.abc import Generator, Iterator, Sequence

from isoflop.display.format import format_flops, one_line
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.work import Elsewhere, Work, elsewhere
from isoflop.training.ranks import Ranks

__all__ = ["records"]

LOOK_SECONDS = 1.0
"""Between two looks at what others have finished or left."""
QUIET_SECONDS = 4.0
"""Of waiting, after which it is said for whom."""
MOST_NAMED = 3


def records(executor: Executor, work: Work, specs: list[RunSpec], ranks: Ranks) -> Iterator[Run]:
    """Each spec's record, as it comes: trained here, or by others; what they leave undone is trained here too."""
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
            ended, specs, held = ranks.told(lambda waiting=held: _look(work, waiting))  # type: ignore[misc]
            yield from ended
            if held and not specs:
                if is_quiet and ranks.is_first and time.monotonic() - began > QUIET_SECONDS:
                    print(f"isoflop: {_waiting(held)}", file=sys.stderr, flush=True)
                    is_quiet = False
                time.sleep(LOOK_SECONDS)


def _look(
    work: Work, runs: Sequence[Elsewhere]
) -> tuple[list[Run], list[RunSpec], list[Elsewhere]]:
    """Of the runs that others have: the records of those that ended, what is free again, and what they still have."""
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
    """What is waited for, and who trains it since when."""
    shown = [
        f"run {run.id} (size {one_line(run.size)}{_budget(run)}): {run.error}"
        for run in held[:MOST_NAMED]
    ]
    others = f"; and {len(held) - MOST_NAMED} more" if len(held) > MOST_NAMED else ""
    return f"waiting for {len(held)} run{'s' if len(held) > 1 else ''} of another program: {'; '.join(shown)}{others}"


def _budget(run: Run) -> str:
    return "" if run.budget is None else f" at {format_flops(run.budget)} FLOPs"
