"""The curve of one IsoFLOP budget, loss over log size, and its minimum, for many resamples at once.

Shapes: n points, R resamples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array

__all__ = ["CURVES", "Curve", "akima", "cubic", "parabola"]

FLAT = 1e-12
"""Share of the loss by which a curve that is not flat rises; rounding gives less."""
GRID = 400
"""Grid points between the smallest and the largest size, for the minimum of an interpolation."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The curve of each of R resamples, and its minimum; NaN where it has none."""

    at: Callable[[Array], Array]
    """Log sizes -> loss of the first resample's curve."""
    minimum: Array
    """Log size of the minimum, shape (R,)."""
    lowest: Array
    """Loss at the minimum."""
    curvature: Array
    """Second derivative at the minimum."""


def parabola(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Least-squares parabolas under R sets of weights, shape (R, n)."""
    return _polynomial_curve(log_size, loss, weights, degree=2)


def cubic(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Least-squares cubics under R sets of weights; they may be steeper on one side."""
    return _polynomial_curve(log_size, loss, weights, degree=3)


def akima(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Akima interpolation of the mean log loss of each size (Porian et al. 2024).

    An interpolation has no residuals to weight. Instead, a weight w moves a log loss by its noise
    times w - 1 (a multiplier bootstrap); the noise is that of the residuals of a cubic.
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
    """Step from the lowest grid point to the vertex of the local parabola, and that one's bend."""
    left, middle, right = (
        np.take_along_axis(values, (inner + k)[None], axis=0)[0] for k in (-1, 0, 1)
    )
    bend = (left - 2 * middle + right) / step**2
    with np.errstate(all="ignore"):
        return np.clip((left - right) / (2 * step * bend), -step, step), bend


def _noise(log_size: Array, log_loss: Array) -> float:
    """Standard deviation of the residuals of a cubic; 0 where it interpolates all points."""
    free = len(log_size) - 4
    if free < 1:
        return 0.0
    at = cubic(log_size, log_loss, np.ones((1, len(log_size)))).at
    return math.sqrt(float(np.sum((at(log_size) - log_loss) ** 2)) / free)


def _polynomial_curve(log_size: Array, loss: Array, weights: Array, degree: int) -> Curve:
    centre = float(log_size.mean())
    coefficients = _polynomials(log_size - centre, loss, weights, degree)
    slope, bend = coefficients[:, 1], 2 * coefficients[:, 2]
    skew = 6 * coefficients[:, 3] if degree == 3 else np.zeros(len(coefficients))
    reach = float(np.abs(log_size - centre).max())
    least = 2 * FLAT * np.abs(coefficients[:, 0]) / max(reach, FLAT) ** 2
    with np.errstate(all="ignore"):
        # Second derivative at the zero of the first where the curve bends up.
        root = np.sqrt(bend**2 - 2 * slope * skew)
        step = -2 * slope / (bend + root)
        step = np.where(bend + root > least, step, np.nan)
        lowest = np.sum(coefficients * step[:, None] ** np.arange(degree + 1), axis=1)

    def at(log_sizes: Array) -> Array:
        away = np.asarray(log_sizes) - centre
        return np.asarray(np.polynomial.polynomial.polyval(away, coefficients[0]))

    return Curve(at, centre + step, lowest, root)


def _polynomials(x: Array, y: Array, weights: Array, degree: int) -> Array:
    """Coefficients of weighted polynomials, shape (R, degree + 1); NaN where undetermined."""
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
"""Curves by name, each with the number of sizes that it needs."""
