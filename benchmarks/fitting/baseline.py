"""A baseline that any method should beat: a line through the minima of the budgets.

log N against log FLOPs, with a prior on the slope and doubt that grows beyond the largest budget.
The slope is near 1/2 in most published sweeps, so the prior is narrow for three in four and wide
for one: .75 N(.5, .1^2) + .25 N(.5, .25^2). Minima scatter around the line by .06, and leave it by
.08 per unit of log FLOPs beyond the last one. The four numbers were set by hand on public sweeps.
"""

import math
from collections.abc import Sequence

import numpy as np
from windows import LEAST_RUNS, Minimum, minimum_of

from isoflop.errors import DataError
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["line_through_minima", "log_sizes"]

SLOPE = 0.5
WIDTHS = ((0.75, 0.1), (0.25, 0.25))
"""Probability and standard deviation of the slope's parts."""
SCATTER, DRIFT = 0.06, 0.08
LEAST_ERROR = 0.03
VAGUE = 1e4
"""Prior variance of the line's height."""
NUM_DRAWS = 600


def log_sizes(runs: Sequence[Run], flops: float) -> Array:
    """Draws of log N of the best size at some FLOPs."""
    points = Points.of(runs)
    budgets = [points.pick(points.budget == budget) for budget in points.budgets]
    minima = [minimum_of(budget) for budget in budgets if len(budget) >= LEAST_RUNS]
    bracketed = [each for each in minima if math.isfinite(each.doubt)]
    if len(bracketed) < 2:
        raise DataError(f"The baseline needs at least 2 minima, but got {len(bracketed)}.")
    return line_through_minima(bracketed, math.log(flops), np.random.default_rng(0))


def line_through_minima(
    minima: Sequence[Minimum], log_flops: float, random: np.random.Generator
) -> Array:
    """The same from minima that are known already."""
    x, y = (np.array([getattr(each, name) for each in minima]) for name in ("log_flops", "log_N"))
    errors = np.array([max(each.doubt, LEAST_ERROR) for each in minima])
    columns = np.stack([np.ones_like(x), x - x.max()], axis=1)
    there = np.array([1, log_flops - x.max()])
    beyond = math.hypot(SCATTER, DRIFT * max(there[1], 0))
    parts = [_line(columns, y, errors, share, width) for share, width in WIDTHS]
    evidence = np.array([part[2] for part in parts])
    shares = np.exp(evidence - evidence.max()) / np.exp(evidence - evidence.max()).sum()
    drawn = []
    for share, (mean, covariance, _) in zip(shares, parts, strict=True):
        deviation = math.hypot(math.sqrt(there @ covariance @ there), beyond)
        normal = random.standard_normal(max(round(share * NUM_DRAWS), 1))
        drawn.append(there @ mean + deviation * normal)
    return np.concatenate(drawn)


def _line(
    columns: Array, y: Array, errors: Array, share: float, width: float
) -> tuple[Array, Array, float]:
    """Posterior mean and covariance of height and slope, and the log evidence of this part."""
    middle = y.mean()
    prior, spread = np.array([0, SLOPE]), np.diag([VAGUE, width**2])
    variance = columns @ spread @ columns.T + np.diag(errors**2 + SCATTER**2)
    gain = spread @ columns.T @ np.linalg.inv(variance)
    off = y - middle - columns @ prior
    mean = prior + gain @ off + np.array([middle, 0])
    fit = off @ np.linalg.solve(variance, off)
    log_evidence = math.log(share) - 0.5 * (np.linalg.slogdet(variance)[1] + fit)
    return mean, spread - gain @ columns @ spread, float(log_evidence)
