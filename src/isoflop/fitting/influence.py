"""Runs that a law cannot explain, and what the answer would be without them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop import text
from isoflop.fitting.approach import Solved
from isoflop.fitting.laws import FrontierLaw, entry
from isoflop.fitting.points import Array, Points
from isoflop.fitting.screening import describe
from isoflop.runs import Run

__all__ = ["Influence", "find_influence"]

FAR = 4.5
"""Robust standard deviations from the law of the other runs; one run in 150,000 under Gaussian noise."""
LEFT = 0.05
"""Log size by which removing the other far-off runs too may still move the answer."""
LEAST_DEVIATION = 1e-6
"""Of log loss; below it differences are rounding."""


@dataclass(frozen=True, eq=False)
class Influence:
    """Runs that the law of the others does not explain, and that law."""

    runs: tuple[Run, ...]
    law: Any
    without: Any
    """The law without the runs."""

    def note(self, flops: float) -> str:
        """One sentence that gives the answer at some FLOPs without the runs."""
        now, then = (float(law.optimum(flops)[0]) for law in (self.law, self.without))
        one = len(self.runs) == 1
        head = (
            f"{len(self.runs)} run{'' if one else 's'} lie{'s' if one else ''} more than {FAR} standard deviations off "
            f"the law of the others ({text.and_list([describe(run) for run in self.runs])})"
        )
        if abs(math.log(now / then)) < 0.01:
            return f"{head}; the answer would be the same without {'it' if one else 'them'}."
        return (
            f"{head}; without {'it' if one else 'them'} the best size at {text.flops(flops)} FLOPs would be "
            f"{text.count(then)} instead of {text.count(now)} ({100 * (then / now - 1):+.0f} %)."
        )


def find_influence(points: Points, solved: Solved, *, flops: float) -> Influence | None:
    """The fewest far-off runs whose removal gives the answer that removing all far-off runs gives; None without any."""
    if solved.refit is None or isinstance(solved.law, FrontierLaw):
        return None
    far, distance = _far_off(points, solved)
    if not far.any():
        return None
    order = np.flatnonzero(far)[np.argsort(-distance[far])]
    weights = np.ones((len(order), len(points)))
    for row, _ in enumerate(order):
        weights[row, order[: row + 1]] = 0
    laws = solved.refit(weights)
    shift = np.log(np.atleast_1d(laws.optimum(flops)[0]) / solved.law.optimum(flops)[0])
    left = np.abs(shift - shift[-1])
    enough = int(np.argmax(left <= LEFT))
    runs = tuple(points.runs[row] for row in sorted(order[: enough + 1]))
    return Influence(runs, solved.law, entry(laws, enough))


def _far_off(points: Points, solved: Solved) -> tuple[NDArray[np.bool_], Array]:
    """Which runs lie far off the law of the other runs, and how far, in robust standard deviations."""
    assert solved.refit is not None
    law, far = solved.law, np.zeros(len(points), dtype=bool)
    distance = np.zeros(len(points))
    for _ in range(5):
        residual = np.log(law.loss(points.N, points.D)) - np.log(points.L)
        spread = 1.4826 * float(np.median(np.abs(residual[~far]))) * _correction(points, solved)
        distance = np.abs(residual) / max(spread, LEAST_DEVIATION)
        found = distance > FAR
        found[np.argsort(distance)[: -max(len(points) // 10, 1)]] = False  # more than a tenth is the law's own misfit
        if (found == far).all():
            break
        far, law = found, entry(solved.refit((~found).astype(float)[None]), 0)
    return far, distance


def _correction(points: Points, solved: Solved) -> float:
    return math.sqrt(len(points) / max(len(points) - solved.num_parameters, 1))
