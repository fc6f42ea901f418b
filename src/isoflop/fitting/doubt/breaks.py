"""Whether small and large budgets follow one law, or each side one of its own.

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
from isoflop.laws.base import Array
from isoflop.laws.objective import evaluate
from isoflop.laws.points import Points

__all__ = ["breaks"]

CHANCE = 1e-6
"""Probability under one law, over all budgets tried, below which a break is told; at 1e-4 noise that differs between
small and large runs was told as a break in 3 % of the sweeps."""
BEYOND_DRIFT = 0.7
"""Share of the squares left by a law that drifts with compute that two laws may leave: with more, the misfit is smooth
and no budget is to blame. Of 10 published tables none is below .94; breaks of 3 % of the loss are at .2 to .3."""
WORTH_TELLING = 1e-3
"""Relative miss of one law from which on a break matters."""
CLIPPED = 3.0
"""Robust standard deviations beyond which a residual counts no more, so that no single run is a break."""


def breaks(points: Points, one_law: Solved | None) -> Iterator[str]:
    """The budget from which on the runs follow another law than the smaller ones; nothing where one law does.

    one_law: through all runs; None where they do not determine it.

    A law for each side of a budget is, to first order, Q columns more in a linear regression of the residuals: the F
    test of Chow 1960, at each budget that leaves two on both sides. So is a law that drifts with compute.
    """
    region, cuts = None if one_law is None else one_law.region, points.budgets[2:-1]
    if not isinstance(region, LawRegion) or not len(cuts):
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
    if (
        chances[best] * len(cuts) < CHANCE
        and two < BEYOND_DRIFT * drifting
        and alone > WORTH_TELLING
    ):
        yield (
            f"The law breaks at the budget {format_flops(float(cuts[best]))}: the runs from there on follow another one "
            f"than the smaller runs (one law misses them by {format_percent(alone)}, two by "
            f"{format_percent(math.sqrt(two / left))}); to extrapolate, fit the larger budgets alone."
        )


def _linearised(points: Points, region: LawRegion) -> tuple[Array, Array]:
    """Derivatives of the log law, shape (n, Q), and its residuals, each configuration with a weight of 1 in all."""
    problem, parameters = region.problem, region.solution.parameters
    found = evaluate(problem, parameters[None], np.ones((1, len(points))))
    residual = residuals(problem, parameters)
    furthest = CLIPPED * 1.4826 * float(np.median(np.abs(residual)))
    weight = 1 / np.sqrt(np.bincount(points.cluster)[points.cluster])
    return found.jacobian[0].T * weight[:, None], np.clip(residual, -furthest, furthest) * weight


def _miss(points: Points, residual: Array, *blocks: Array) -> tuple[float, int]:
    """Sum of squares that the columns do not explain, and its degrees of freedom."""
    columns = np.hstack(blocks)
    length = np.linalg.norm(columns, axis=0)
    used = columns[:, length > 0] / length[length > 0]
    found, _, rank, _ = np.linalg.lstsq(used, residual, rcond=1e-6)
    return float(np.sum((residual - used @ found) ** 2)), int(points.cluster.max()) + 1 - int(rank)


def _chance(one: float, free: int, two: float, left: int) -> float:
    """Probability under one law that two explain so much more."""
    if left < 1 or free <= left or two <= 0:
        return 1.0
    return float(fdtrc(free - left, left, (one - two) / (free - left) / (two / left)))
