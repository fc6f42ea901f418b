"""Runs that diverged but have a finite loss, far above that of runs like them.

N params, D tokens, L loss.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["diverged", "surface_residuals"]

FACTOR = 1.6
"""Ratio of a diverged run's loss to that of the others, at least. In 20 public tables one run lies
above 1.3 and none above 1.35; smaller excesses are left to the approaches, which name them."""
DEVIATIONS = 10.0
"""The same in robust standard deviations of the others."""
FEWEST, ENOUGH_FOR_SQUARES = 8, 15
"""Fewest runs, and fewest for a surface that is quadratic in log N and log D."""
AT_MOST = 0.2
"""Largest share of diverged runs; beyond it, there is no telling which are."""
ROUNDS = 30
LEAST_RESIDUAL = 1e-4


def diverged(points: Points) -> NDArray[np.bool_]:
    """Which runs have a loss far above the surface of the others, shape (n,)."""
    is_diverged = np.zeros(len(points), dtype=bool)
    if len(points) < FEWEST:
        return is_diverged
    for _ in range(ROUNDS):
        above = surface_residuals(points, ~is_diverged)
        spread = robust_deviation(above[~is_diverged])
        found = above > max(np.log(FACTOR), DEVIATIONS * spread)
        if (found == is_diverged).all():
            break
        is_diverged = found
    return is_diverged if is_diverged.sum() <= AT_MOST * len(points) else np.zeros_like(is_diverged)


def surface_residuals(points: Points, used: NDArray[np.bool_] | None = None) -> Array:
    """Log loss minus a smooth surface through the middle of the used runs, shape (n,)."""
    design, y = _design(points), np.log(points.L)
    rows = slice(None) if used is None else used
    return np.asarray(y - design @ _median_surface(design[rows], y[rows]))


def _design(points: Points) -> Array:
    x, y = (np.log(values) for values in (points.N, points.D))
    x, y = x - x.mean(), y - y.mean()
    columns = [np.ones(len(x)), x, y]
    if len(x) >= ENOUGH_FOR_SQUARES:
        columns += [x**2, x * y, y**2]
    basis, values, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    return np.asarray(basis[:, values > 1e-6 * values[0]])


def _median_surface(design: Array, y: Array) -> Array:
    """Coefficients with the least sum of absolute residuals, by reweighting."""
    weights = np.ones(len(y))
    for _ in range(ROUNDS):
        scaled = design * weights[:, None]
        beta = np.linalg.lstsq(scaled, y * weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(y - design @ beta), LEAST_RESIDUAL))
    return np.asarray(beta)
