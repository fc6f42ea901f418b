"""The curve of one IsoFLOP budget: loss against log size, weighted, for many resamples at once.

Shapes: n points, R resamples.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.fitting.points import Array

__all__ = ["Curve", "parabola"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A polynomial in (log size - centre) for each of R resamples, and its minimum."""

    centre: float
    coefficients: Array
    """Rising powers, shape (R, degree + 1)."""
    minimum: Array
    """Log size of the minimum, shape (R,); NaN where there is none."""
    curvature: Array
    """Second derivative there."""

    def at(self, log_size: Array, row: int = 0) -> Array:
        """Loss at some log sizes."""
        value: Array = np.polynomial.polynomial.polyval(log_size - self.centre, self.coefficients[row])
        return value

    @property
    def lowest(self) -> Array:
        """Loss at the minimum, shape (R,)."""
        steps = self.minimum - self.centre
        powers = steps[:, None] ** np.arange(self.coefficients.shape[1])
        return np.asarray(np.sum(self.coefficients * powers, axis=1))


def parabola(log_size: Array, loss: Array, weights: Array) -> Curve:
    """Least-squares parabolas under R sets of weights, shape (R, n)."""
    centre = float(log_size.mean())
    coefficients = _polynomials(log_size - centre, loss, weights, degree=2)
    bend = 2 * coefficients[:, 2]
    with np.errstate(all="ignore"):
        minimum = np.where(bend > 0, centre - coefficients[:, 1] / bend, np.nan)
    return Curve(centre, coefficients, minimum, bend)


def _polynomials(x: Array, y: Array, weights: Array, degree: int) -> Array:
    """Coefficients of weighted polynomials, shape (R, degree + 1); NaN where the points do not determine one."""
    basis = x[:, None] ** np.arange(degree + 1)
    gram = np.einsum("rn,ni,nj->rij", weights, basis, basis)
    scale = np.sqrt(np.einsum("rii->ri", gram)) + 1e-300
    scaled = gram / (scale[:, :, None] * scale[:, None])
    solvable = np.linalg.eigvalsh(scaled)[:, 0] > 1e-9
    right = (weights * y) @ basis / scale
    identity = np.eye(degree + 1)
    solved = np.linalg.solve(np.where(solvable[:, None, None], scaled, identity), right[..., None])[..., 0]
    return np.where(solvable[:, None], solved / scale, np.nan)
