"""Influence: runs that a law cannot explain, and the answer without them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_flops, format_replacement, join_words
from isoflop.fitting.approaches.base import Approach, Solved
from isoflop.fitting.robust import robust_deviation
from isoflop.fitting.screening.screen import describe
from isoflop.laws.base import Array, Law, Surface, entry
from isoflop.laws.other_laws import losses_of
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["Influence", "find_influence"]

OUTLYING = 4.5
"""Robust standard deviations from the law of the other runs, from which on a run is an outlier; one
run in 150,000 under Gaussian noise."""
GROSS = 12.0
"""Robust standard deviations from which on an outlier is always named."""
LEFT = 0.05
"""Log size by which removing the remaining outliers may still move the answer."""
SMALL = 0.02
"""Log size below which an answer counts as unchanged."""
COMPARABLE = math.log(3)
"""Log size by which the answer of a single law may differ from the fit's to be shown beside it."""
LEAST_DEVIATION = 1e-6
"""Least standard deviation of log loss; smaller differences are rounding."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Runs that the law of the others does not explain, and the answer without them."""

    runs: tuple[Run, ...]
    law: Law
    without: Law
    """The law without the runs."""
    plain: tuple[Law, Law] | None = None
    """A single law with and without the runs; None where `law` is a single law itself."""

    def note(self, flops: float) -> Note:
        """A note with the answer at `flops` without the runs."""
        head, them = (
            ("1 run lies", "it") if len(self.runs) == 1 else (f"{len(self.runs)} runs lie", "them")
        )
        names = join_words([describe(run) for run in self.runs])
        text = (
            f"{head} more than {OUTLYING} standard deviations off the law of the others ({names}); "
            f"without {them} {self._answer(flops)}{self._single_law(flops)}."
        )
        return Note("outlier", text)

    def _answer(self, flops: float) -> str:
        now, then = _sizes(self.law, self.without, flops)
        if _have_optima(now, then) and abs(math.log(now / then)) < SMALL:
            return f"the answer would be the same within {100 * SMALL:.0f} %"
        return (
            f"the best size at {format_flops(flops)} FLOPs would be {format_replacement(then, now)}"
        )

    def _single_law(self, flops: float) -> str:
        """The change of a single law's answer, where that answer is near enough to the fit's."""
        if self.plain is None:
            return ""
        now, then = _sizes(*self.plain, flops)
        answer = float(self.law.optimum(flops)[0])
        if not _have_optima(now, then, answer) or abs(math.log(now / answer)) > COMPARABLE:
            return ""
        return f" (that of one law alone: {format_replacement(then, now)})"


def find_influence(
    points: Points, solved: Solved, approach: Approach, one_law: Solved | None, *, flops: float
) -> Influence | None:
    """The fewest outliers without which the answer is that without all outliers; None without any.

    Outliers are those of a single law through all runs, whatever the approach. Only laws that are
    surfaces are checked.
    """
    single = solved if solved.refit is not None else one_law
    if not isinstance(solved.law, Surface) or single is None or single.refit is None:
        return None
    is_outlier, distance = _outliers(points, single)
    if not is_outlier.any():
        return None
    order = np.flatnonzero(is_outlier)[np.argsort(-distance[is_outlier])]
    every = np.arange(len(points))
    kept = [~np.isin(every, order[: number + 1]) for number in range(len(order))]
    laws = single.refit(np.array(kept, dtype=float))
    shift = np.log(np.atleast_1d(laws.optimum(flops)[0]) / single.law.optimum(flops)[0])
    enough = _last_to_name(shift, distance[order])
    chosen = np.sort(order[: enough + 1])
    runs, without = tuple(points.runs[row] for row in chosen), entry(laws, enough)
    if single is solved:
        return Influence(runs, solved.law, without)
    rest = approach.solve(points.pick(~np.isin(every, chosen))).law
    return Influence(runs, solved.law, rest, plain=(single.law, without))


def _last_to_name(shift: Array, distance: Array) -> int:
    """Index of the last run to name, by decreasing distance.

    All are named where they do not move the answer, else as few as give its change.
    """
    if abs(shift[-1]) <= LEFT:
        return len(shift) - 1
    return max(int(np.argmax(np.abs(shift - shift[-1]) <= LEFT)), int(np.sum(distance > GROSS)) - 1)


def _sizes(law: Law, without: Law, flops: float) -> tuple[float, float]:
    return float(law.optimum(flops)[0]), float(without.optimum(flops)[0])


def _have_optima(*sizes: float) -> bool:
    """Whether best sizes are finite: that of a law without an optimum is 0 or infinite."""
    return all(0 < size < math.inf for size in sizes)


def _outliers(points: Points, solved: Solved) -> tuple[NDArray[np.bool_], Array]:
    """Which runs are outliers of the law of the others, and distances in robust deviations."""
    assert solved.refit is not None
    law, is_outlier = solved.law, np.zeros(len(points), dtype=bool)
    distance = np.zeros(len(points))
    for _ in range(5):
        assert isinstance(law, Surface)
        residual = np.log(losses_of(law, points)) - np.log(points.L)
        spread = robust_deviation(residual[~is_outlier]) * _correction(points, solved)
        distance = np.abs(residual) / max(spread, LEAST_DEVIATION)
        is_far = distance > OUTLYING
        # More than a tenth of the runs is the law's own misfit.
        is_far[np.argsort(distance)[: -max(len(points) // 10, 1)]] = False
        if (is_far == is_outlier).all():
            break
        is_outlier, law = is_far, entry(solved.refit((~is_far).astype(float)[None]), 0)
    return is_outlier, distance


def _correction(points: Points, solved: Solved) -> float:
    """Factor by which residuals of a fit are smaller than the errors."""
    return math.sqrt(len(points) / max(len(points) - solved.num_parameters, 1))
