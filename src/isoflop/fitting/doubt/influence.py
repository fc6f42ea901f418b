"""Runs that a law cannot explain, and what the answer would be without them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_flops, format_replacement, join_words
from isoflop.fitting.approaches.base import Approach, Solved
from isoflop.fitting.screening.screen import describe
from isoflop.laws.base import Array, Law, Surface, entry
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["Influence", "find_influence"]

FAR = 4.5
"""Robust standard deviations from the law of the other runs; one run in 150,000 under Gaussian noise."""
GROSS = 12.0
"""From here on a run is named whether or not it moves the answer: something went wrong in it."""
LEFT = 0.05
"""Log size by which removing the other far-off runs too may still move the answer."""
SMALL = 0.02
"""Log size below which an answer has not moved."""
COMPARABLE = math.log(3)
"""Log size by which the answer of a single law may differ from the answer to be told beside it."""
LEAST_DEVIATION = 1e-6
"""Of log loss; below it differences are rounding."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Runs that a law of the others does not explain, and the answer without them."""

    runs: tuple[Run, ...]
    law: Law
    without: Law
    """The law without the runs."""
    plain: tuple[Any, Any] | None = None
    """A single law with and without the runs, where `law` is more than that; None where it is one."""

    def note(self, flops: float) -> str:
        """One sentence that gives the answer at some FLOPs without the runs."""
        one = len(self.runs) == 1
        them = "it" if one else "them"
        head = (
            f"{len(self.runs)} run{'' if one else 's'} lie{'s' if one else ''} more than {FAR} standard deviations off "
            f"the law of the others ({join_words([describe(run) for run in self.runs])})"
        )
        now, then = _sizes(self.law, self.without, flops)
        told = (
            f"the best size at {format_flops(flops)} FLOPs would be {format_replacement(then, now)}"
        )
        if _is_one(now, then) and abs(math.log(now / then)) < SMALL:
            told = f"the answer would be the same within {100 * SMALL:.0f} %"
        return f"{head}; without {them} {told}{self._aside(flops)}."

    def _aside(self, flops: float) -> str:
        """What the runs do to a single law, where that law's answer is near enough to this one to be compared."""
        if self.plain is None:
            return ""
        now, then = _sizes(*self.plain, flops)
        answer = float(self.law.optimum(flops)[0])
        if not _is_one(now, then, answer) or abs(math.log(now / answer)) > COMPARABLE:
            return ""
        return f" (that of one law alone: {format_replacement(then, now)})"


def find_influence(
    points: Points, solved: Solved, approach: Approach, one_law: Solved | None, *, flops: float
) -> Influence | None:
    """Runs far off the law of the others, as few as give the answer that leaving all of them out gives; None without.

    They are looked for with one law through all runs, whatever the approach, and only where the approach is a surface.
    """
    single = solved if solved.refit is not None else one_law
    if not isinstance(solved.law, Surface) or single is None or single.refit is None:
        return None
    far, distance = _far_off(points, single)
    if not far.any():
        return None
    order = np.flatnonzero(far)[np.argsort(-distance[far])]
    every = np.arange(len(points))
    laws = single.refit(
        np.array(
            [~np.isin(every, order[: number + 1]) for number in range(len(order))], dtype=float
        )
    )
    shift = np.log(np.atleast_1d(laws.optimum(flops)[0]) / single.law.optimum(flops)[0])
    enough = _last_to_name(shift, distance[order])
    chosen = np.sort(order[: enough + 1])
    runs, without = tuple(points.runs[row] for row in chosen), entry(laws, enough)
    if single is solved:
        return Influence(runs, solved.law, without)
    rest = approach.solve(points.pick(~np.isin(every, chosen))).law
    return Influence(runs, solved.law, rest, plain=(single.law, without))


def _last_to_name(shift: Array, distance: Array) -> int:
    """Index of the last run to name, by falling distance: all where the answer holds, else as few as tell it."""
    if abs(shift[-1]) <= LEFT:
        return len(shift) - 1
    return max(int(np.argmax(np.abs(shift - shift[-1]) <= LEFT)), int(np.sum(distance > GROSS)) - 1)


def _sizes(law: Law, without: Law, flops: float) -> tuple[float, float]:
    return float(law.optimum(flops)[0]), float(without.optimum(flops)[0])


def _is_one(*sizes: float) -> bool:
    """Whether laws have a best size: that of a law without a valley is 0 or infinite."""
    return all(0 < size < math.inf for size in sizes)


def _far_off(points: Points, solved: Solved) -> tuple[NDArray[np.bool_], Array]:
    """Which runs lie far off the law of the other runs, and how far, in robust standard deviations."""
    assert solved.refit is not None
    law, far = solved.law, np.zeros(len(points), dtype=bool)
    distance = np.zeros(len(points))
    for _ in range(5):
        assert isinstance(law, Surface)
        residual = np.log(law.loss(points.N, points.D)) - np.log(points.L)
        spread = 1.4826 * float(np.median(np.abs(residual[~far]))) * _correction(points, solved)
        distance = np.abs(residual) / max(spread, LEAST_DEVIATION)
        found = distance > FAR
        found[np.argsort(distance)[: -max(len(points) // 10, 1)]] = (
            False  # more than a tenth is the law's own misfit
        )
        if (found == far).all():
            break
        far, law = found, entry(solved.refit((~found).astype(float)[None]), 0)
    return far, distance


def _correction(points: Points, solved: Solved) -> float:
    return math.sqrt(len(points) / max(len(points) - solved.num_parameters, 1))
