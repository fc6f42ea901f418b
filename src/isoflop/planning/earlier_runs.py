"""What the earlier runs of a sweep cost, and which of them tell something."""

import math
from collections.abc import Iterable

from isoflop.runs import Run

__all__ = ["paid", "usable"]


def usable(runs: Iterable[Run]) -> list[Run]:
    """The runs that completed with a loss."""
    return [run for run in runs if run.status == "completed" and math.isfinite(run.loss)]


def paid(run: Run) -> float:
    """FLOPs of a run.

    One that ended early counts as planned, since it may have been tried more than once.
    """
    return run.flops if run.status == "completed" else max(run.flops, run.spec.flops)
