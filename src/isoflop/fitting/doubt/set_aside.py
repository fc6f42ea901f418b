"""Restored: runs set aside for how they were trained, and the answer with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.display.format import format_flops, format_replacement
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach, Solved
from isoflop.fitting.screening.screen import SetAside
from isoflop.laws.base import Law
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["Restored", "find_restored"]


@dataclass(frozen=True, eq=False)
class Restored:
    """Runs with a loss that a fit did not use, and the law with them."""

    runs: tuple[Run, ...]
    law: Law
    restored: Law | None
    """The law with the runs; None where all runs together determine none."""

    def note(self, flops: float) -> Note:
        """A note with the answer at `flops` with the runs, and how to keep them."""
        runs, it, was = (
            ("run", "it", "it was") if len(self.runs) == 1 else ("runs", "them", "they were")
        )
        text = (
            f"With the {runs} set aside for how {was} trained, {self._answer(flops)}; "
            f'fit(..., keep="all") uses {it}.'
        )
        return Note("set-aside-training", text)

    def _answer(self, flops: float) -> str:
        if self.restored is None:
            return "no law is found"
        now, then = (float(law.optimum(flops)[0]) for law in (self.law, self.restored))
        return (
            f"the best size at {format_flops(flops)} FLOPs would be {format_replacement(then, now)}"
        )


def find_restored(
    aside: Sequence[SetAside], points: Points, solved: Solved, approach: Approach
) -> Restored | None:
    """The usable runs among those set aside, and the law of all runs; None without such runs."""
    runs = tuple(item.run for item in aside if item.is_usable)
    if not runs:
        return None
    try:
        restored = approach.solve(Points.of([*points.runs, *runs])).law
    except DataError:
        return Restored(runs, solved.law, None)
    return Restored(runs, solved.law, restored)
