"""Records of specs that several calls of train(), on any machines, may be training on one store."""

import time
from collections.abc import Generator, Iterator

from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Executor
from isoflop.training.executors.work import Elsewhere, Work
from isoflop.training.ranks import Ranks

__all__ = ["records"]

LOOK_SECONDS = 1.0
"""Between two looks at what others have finished or left."""


def records(executor: Executor, work: Work, specs: list[RunSpec], ranks: Ranks) -> Iterator[Run]:
    """Each spec's record, as it comes: trained here, or by others; what they leave undone is trained here too."""
    while specs:
        elsewhere = []
        done = executor.map(work, specs)
        try:
            for run in done:
                if isinstance(run, Elsewhere):
                    elsewhere.append(run.spec)
                else:
                    yield run
        finally:
            if isinstance(done, Generator):
                done.close()
        specs = []
        while elsewhere and not specs:
            ended, specs, elsewhere = ranks.told(lambda waiting=elsewhere: _look(work, waiting))  # type: ignore[misc]
            yield from ended
            if elsewhere and not specs:
                time.sleep(LOOK_SECONDS)


def _look(work: Work, specs: list[RunSpec]) -> tuple[list[Run], list[RunSpec], list[RunSpec]]:
    """Of the runs that others have: the records of those that ended, what is free again, and what they still have."""
    ended: list[Run] = []
    free: list[RunSpec] = []
    held: list[RunSpec] = []
    for spec in specs:
        run = work.store.read_run(spec.id)
        if run is not None:
            ended.append(run)
        else:
            with work.store.lease(spec.id, work.session) as holder:
                (free if holder is None else held).append(spec)
    return ended, free, held
