"""Runs that were set aside for how they were trained, and what the answer would be with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.display.format import format_flops, format_replacement
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach, Solved
from isoflop.fitting.screening.screen import SetAside
from isoflop.laws.base import Law
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["Restored", "find_restored"]


@dataclass(frozen=True, eq=False)
class Restored:
    """Runs with a loss that a fit did not use, and the law with them."""

    runs: tuple[Run, ...]
    law: Law
    restored: Law | None
    """The law with the runs; None where they leave none."""

    def note(self, flops: float) -> str:
        """One sentence that gives the answer at some FLOPs with the runs, and how to keep them."""
        which, it, was = (
            ("run", "it", "it was") if len(self.runs) == 1 else ("runs", "them", "they were")
        )
        head = f"With the {which} set aside for how {was} trained"
        if self.restored is None:
            told = "no law is found"
        else:
            now, then = (float(law.optimum(flops)[0]) for law in (self.law, self.restored))
            told = f"the best size at {format_flops(flops)} FLOPs would be {format_replacement(then, now)}"
        return f'{head}, {told}; fit(..., keep="all") uses {it}.'


def find_restored(
    aside: Sequence[SetAside], points: Points, solved: Solved, approach: Approach
) -> Restored | None:
    """The runs with a loss among those set aside, and the law of all runs together; None where there are none."""
    runs = tuple(item.run for item in aside if item.is_usable)
    if not runs:
        return None
    try:
        restored = approach.solve(Points.of([*points.runs, *runs])).law
    except DataError:
        return Restored(runs, solved.law, None)
    return Restored(runs, solved.law, restored)
