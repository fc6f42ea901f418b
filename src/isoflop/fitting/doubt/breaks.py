"""Breaks: whether small and large budgets follow one law or two.

Q parameters, n configurations.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import fdtrc

from isoflop.display.format import format_flops, format_percent
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.parametric import residuals
from isoflop.fitting.approaches.profile import LawRegion
from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.laws.objective import evaluate
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["breaks"]

CHANCE = 1e-6
"""Probability under one law, over all budgets tried, below which there is a note. At 1e-4, noise
that differs between small and large runs gave a note in 3 % of the sweeps."""
BEYOND_DRIFT = 0.7
"""Largest sum of squares of two laws, as a share of that of a law that drifts with compute. Above
it the misfit is smooth, without a break at one budget. Of 10 published tables none is below .94;
breaks of 3 % of the loss are at .2 to .3."""
LEAST_MISS = 1e-3
"""Relative residual of one law from which on a break matters."""
CLIPPED = 3.0
"""Robust standard deviations at which residuals are clipped, so that no single run is a break."""


def breaks(points: Points, one_law: Solved | None) -> Iterator[Note]:
    """A note on the budget from which on the runs follow another law; none where one law suffices.

    one_law: the law through all runs; None where they do not determine one.

    To first order, a law for each side of a budget adds Q columns to a linear regression of the
    residuals: the F test of Chow 1960, at each budget that leaves two on both sides. So does a law
    that drifts with compute.
    """
    region, cuts = None if one_law is None else one_law.region, points.budgets[2:-1]
    if not isinstance(region, LawRegion) or not len(cuts):
        return
    if len(region.problem.target) < len(points):  # the law is of a part of the runs
        return
    slopes, residual = _linearised(points, region)
    compute = np.where(np.isfinite(points.budget), points.budget, points.C)
    one, free = _miss(points, residual, slopes)
    drifting, _ = _miss(
        points, residual, slopes, slopes * np.log(compute / points.C.mean())[:, None]
    )
    tried = [_miss(points, residual, slopes, slopes * (compute >= cut)[:, None]) for cut in cuts]
    chances = [_chance(one, free, *each) for each in tried]
    best = int(np.argmin(chances))
    (two, left), alone = tried[best], math.sqrt(one / max(free, 1))
    is_unlikely = chances[best] * len(cuts) < CHANCE
    if is_unlikely and two < BEYOND_DRIFT * drifting and alone > LEAST_MISS:
        yield _note(float(cuts[best]), alone, math.sqrt(two / left))


def _note(budget: float, one: float, two: float) -> Note:
    text = (
        f"The law breaks at the budget {format_flops(budget)}: the runs from there on follow "
        f"another one than the smaller runs (one law misses them by {format_percent(one)}, two by "
        f"{format_percent(two)}); to extrapolate, fit the larger budgets alone."
    )
    return Note("break", text)


def _linearised(points: Points, region: LawRegion) -> tuple[Array, Array]:
    """Derivatives of the log law, shape (n, Q), and its residuals.

    Both are weighted so that each configuration has a total weight of 1.
    """
    problem, parameters = region.problem, region.solution.parameters
    here = evaluate(problem, parameters[None], np.ones((1, len(points))))
    residual = residuals(problem, parameters)
    furthest = CLIPPED * robust_deviation(residual)
    weight = 1 / np.sqrt(np.bincount(points.cluster)[points.cluster])
    return here.jacobian[0].T * weight[:, None], np.clip(residual, -furthest, furthest) * weight


def _miss(points: Points, residual: Array, *blocks: Array) -> tuple[float, int]:
    """Sum of squares that the columns leave, and its degrees of freedom."""
    columns = np.hstack(blocks)
    length = np.linalg.norm(columns, axis=0)
    used = columns[:, length > 0] / length[length > 0]
    slopes, _, rank, _ = np.linalg.lstsq(used, residual, rcond=1e-6)
    left = float(np.sum((residual - used @ slopes) ** 2))
    return left, int(points.cluster.max()) + 1 - int(rank)


def _chance(one: float, free: int, two: float, left: int) -> float:
    """Probability under one law that two explain as much more."""
    if left < 1 or free <= left or two <= 0:
        return 1.0
    return float(fdtrc(free - left, left, (one - two) / (free - left) / (two / left)))
