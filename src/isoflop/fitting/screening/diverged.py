"""Runs whose finite loss is far above that of runs like them, or far below it.

The former diverged; the latter are of another measure, such as a training loss or a mistyped one.

N params, D tokens, L loss.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["far_off", "surface_residuals"]

FACTOR = 1.6
"""Ratio of such a loss to that of the others, or its inverse, at least. In 20 public tables one
run lies above 1.3 and none above 1.35; smaller ones are left to the approaches, which name them."""
DEVIATIONS = 10.0
"""The same in robust standard deviations of the others."""
FEWEST, ENOUGH_FOR_SQUARES = 8, 15
"""Fewest runs, and fewest for a surface that is quadratic in log N and log D."""
ENOUGH = 2000
"""Runs that determine the surface; of more, every k-th is used."""
AT_MOST = 0.2
"""Largest share of such runs; beyond it, there is no telling which are wrong."""
ROUNDS = 30
LEAST_RESIDUAL = 1e-4


def far_off(points: Points) -> NDArray[np.int_]:
    """1 for runs with a loss far above the surface of the others, -1 far below, else 0; (n,)."""
    side = np.zeros(len(points), dtype=int)
    if len(points) < FEWEST:
        return side
    for _ in range(ROUNDS):
        above = surface_residuals(points, side == 0)
        spread = robust_deviation(above[side == 0])
        is_far = np.abs(above) > max(np.log(FACTOR), DEVIATIONS * spread)
        found = np.where(is_far, np.sign(above), 0).astype(int)
        if (found == side).all():
            break
        side = found
    return side if np.sum(side != 0) <= AT_MOST * len(points) else np.zeros_like(side)


def surface_residuals(points: Points, used: NDArray[np.bool_] | None = None) -> Array:
    """Log loss minus a smooth surface through the middle of the used runs, shape (n,)."""
    design, y = _design(points), np.log(points.L)
    rows = np.arange(len(y)) if used is None else np.flatnonzero(used)
    rows = rows[:: max(len(rows) // ENOUGH, 1)]
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
