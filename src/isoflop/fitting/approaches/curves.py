"""The curve of one IsoFLOP budget, loss against log size, and its minimum, for many resamples at once.

Shapes: n points, R resamples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.points import Array

__all__ = ["CURVES", "Curve", "akima", "cubic", "parabola"]

GRID = 400
"""Points between the smallest and the largest size at which an interpolated curve is searched for its minimum."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve for each of R resamples, and its minimum; NaN where there is none."""

    at: Callable[[Array], Array]
    """Log sizes -> loss of the first resample's curve."""
    minimum: Array
    """Log size of the minimum, shape (R,)."""
    lowest: Array
    """Loss there."""
    curvature: Array
    """Second derivative there."""


def parabola(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Least-squares parabolas under R sets of weights, shape (R, n)."""
    return _polynomial_curve(log_size, loss, weights, degree=2)


def cubic(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Least-squares cubics, which may be steeper on one side than on the other."""
    return _polynomial_curve(log_size, loss, weights, degree=3)


def akima(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Akima interpolation of log loss (Porian et al. 2024), over the mean of each size.

    An interpolation has no residuals to weigh: weights w move each log loss by its noise times w - 1 (a multiplier
    bootstrap), with the noise taken from the residuals of a cubic.
    """
    from scipy.interpolate import Akima1DInterpolator  # .15 s to import, for this curve alone

    sizes = np.unique(log_size)
    member = (log_size == sizes[:, None]) / (log_size == sizes[:, None]).sum(axis=1, keepdims=True)
    moved = np.log(loss) + _noise(log_size, np.log(loss)) * (weights - 1)
    curve = Akima1DInterpolator(sizes, member @ moved.T)
    fine = np.linspace(sizes[0], sizes[-1], GRID)
    values = np.asarray(curve(fine))
    inner = np.clip(values.argmin(axis=0), 1, GRID - 2)
    down, bend = _vertex(values, inner, fine[1] - fine[0])
    lowest = np.exp(np.take_along_axis(values, inner[None], axis=0)[0])

    def at(log_sizes: Array) -> Array:
        return np.asarray(np.exp(curve(log_sizes)[..., 0]))

    return Curve(at, np.where(bend > 0, fine[inner] + down, np.nan), lowest, bend * lowest)


def _vertex(values: Array, inner: NDArray[np.intp], step: float) -> tuple[Array, Array]:
    """Step from the lowest grid point to the vertex of the parabola through its neighbours, and its bend."""
    left, middle, right = (
        np.take_along_axis(values, (inner + k)[None], axis=0)[0] for k in (-1, 0, 1)
    )
    bend = (left - 2 * middle + right) / step**2
    with np.errstate(all="ignore"):
        return np.clip((left - right) / (2 * step * bend), -step, step), bend


def _noise(log_size: Array, log_loss: Array) -> float:
    """Standard deviation of the residuals of a cubic; 0 where it passes through all points."""
    free = len(log_size) - 4
    if free < 1:
        return 0.0
    at = cubic(log_size, log_loss, np.ones((1, len(log_size)))).at
    return math.sqrt(float(np.sum((at(log_size) - log_loss) ** 2)) / free)


def _polynomial_curve(log_size: Array, loss: Array, weights: Array, degree: int) -> Curve:
    centre = float(log_size.mean())
    found = _polynomials(log_size - centre, loss, weights, degree)
    slope, bend = found[:, 1], 2 * found[:, 2]
    skew = 6 * found[:, 3] if degree == 3 else np.zeros(len(found))
    with np.errstate(all="ignore"):
        root = np.sqrt(
            bend**2 - 2 * slope * skew
        )  # the root of the derivative where the curve bends up
        step = -2 * slope / (bend + root)
        step = np.where(bend + root > 0, step, np.nan)
        lowest = np.sum(found * step[:, None] ** np.arange(degree + 1), axis=1)

    def at(log_sizes: Array) -> Array:
        return np.asarray(
            np.polynomial.polynomial.polyval(np.asarray(log_sizes) - centre, found[0])
        )

    return Curve(at, centre + step, lowest, root)


def _polynomials(x: Array, y: Array, weights: Array, degree: int) -> Array:
    """Coefficients of weighted polynomials, shape (R, degree + 1); NaN where the points do not determine one."""
    basis = x[:, None] ** np.arange(degree + 1)
    gram = np.einsum("rn,ni,nj->rij", weights, basis, basis)
    scale = (
        np.sqrt(np.einsum("rii->ri", gram)) + 1e-150
    )  # its square is above 0 where all sizes are one
    scaled = gram / (scale[:, :, None] * scale[:, None])
    solvable = np.linalg.eigvalsh(scaled)[:, 0] > 1e-9
    right = (weights * y) @ basis / scale
    solved = np.linalg.solve(
        np.where(solvable[:, None, None], scaled, np.eye(degree + 1)), right[..., None]
    )[..., 0]
    return np.where(solvable[:, None], solved / scale, np.nan)


CURVES: dict[str, tuple[Callable[[Array, Array, Array], Curve], int]] = {
    "parabola": (parabola, 3),
    "cubic": (cubic, 4),
    "akima": (akima, 4),
}
"""Curves by name, each with the fewest sizes that it needs."""
