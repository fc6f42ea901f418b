"""A line with a drifting slope: Gaussian-process regression under many settings at once.

t log compute from the largest evidence, z values there. Under one setting the slope of z over t is
a stationary process with a mean, a standard deviation and a correlation exp(-|t - t'| / reach)
(Ornstein and Uhlenbeck 1930), and z is its integral from an unknown value at t = 0. Near the
evidence the slope is that of the evidence. Farther away it returns to its mean, and the doubt grows
as held-out errors do. H settings, n points of evidence, q points of prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri

from isoflop.fitting.approaches.base import NoLawError
from isoflop.fitting.bayesian.prior import Hypotheses
from isoflop.laws.base import Array

__all__ = ["Regression", "integrated", "mixed", "regress", "weighted_median"]

VAGUE = 100.0
"""Prior variance of the intercept."""
NEGLIGIBLE = 1e-4
"""Probability below which a setting is left out."""
QUANTILES = 9
"""Quantiles that represent each setting in the middle of the mixture."""


@dataclass(frozen=True, eq=False)
class Regression:
    """Posterior of the values at the points of prediction, a mixture over H settings."""

    weights: Array
    """Shape (H,); they sum to 1."""
    mean: Array
    """Shape (H, q)."""
    covariance: Array
    """Shape (H, q, q)."""
    kept: NDArray[np.intp]
    """Indices of the settings among those of the prior; negligible ones are left out."""
    log_evidence: float

    def draw(self, number: int, random: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
        """Values of shape (number, q), and the setting of each among the kept ones."""
        shares = (np.arange(number) + random.random()) / number
        rows = np.searchsorted(np.cumsum(self.weights), shares * (1 - 1e-12))
        random.shuffle(rows)
        used, inverse = np.unique(rows, return_inverse=True)
        scale = np.trace(self.covariance[used], axis1=1, axis2=2)[:, None, None]
        nugget = 1e-10 * (1 + scale) * np.eye(self.mean.shape[1])
        factors = np.linalg.cholesky(self.covariance[used] + nugget)
        normal = random.standard_normal((number, self.mean.shape[1], 1))
        return self.mean[rows] + (factors[inverse] @ normal)[..., 0], rows

    def representatives(self) -> tuple[Array, Array, NDArray[np.intp]]:
        """Values whose weighted quantiles are the mixture's, shape (R, q), weights and settings.

        Settings are indices into the kept ones.
        """
        nodes = ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
        deviation = np.sqrt(np.maximum(np.diagonal(self.covariance, axis1=1, axis2=2), 0))
        values = self.mean[:, None] + nodes[:, None] * deviation[:, None]
        rows = np.repeat(np.arange(len(self.weights)), QUANTILES)
        return values.reshape(-1, self.mean.shape[1]), self.weights[rows] / QUANTILES, rows


def integrated(s: Array, t: Array, reach: Array) -> Array:
    """Covariance of the slope's integrals from 0 to s and from 0 to t, for a deviation of 1."""
    length = (np.abs(s) + np.abs(t) - np.abs(s - t)) / reach - 1
    fading = (
        np.exp(-np.abs(s) / reach) + np.exp(-np.abs(t) / reach) - np.exp(-np.abs(s - t) / reach)
    )
    return np.asarray(reach**2 * (length + fading))


def mixed(
    lines: Sequence[Regression], shares: Sequence[float], num_settings: Sequence[int]
) -> Regression:
    """The mixture of some posteriors with the given shares, which sum to 1.

    num_settings: of the prior of each; the mixture's settings are those of all, in this order.
    """
    before = np.concatenate([[0], np.cumsum(num_settings)[:-1]]).astype(np.intp)
    weights = [share * line.weights for share, line in zip(shares, lines, strict=True)]
    kept = [first + line.kept for first, line in zip(before, lines, strict=True)]
    return Regression(
        np.concatenate(weights),
        np.concatenate([line.mean for line in lines]),
        np.concatenate([line.covariance for line in lines]),
        np.concatenate(kept),
        float(logsumexp([line.log_evidence for line in lines], b=shares)),
    )


def regress(
    given: Hypotheses,
    t: Array,
    z: Array,
    noise: Array,
    at: Array,
    log_likelihood: Array | float = 0.0,
) -> Regression:
    """The values at the points `at`.

    z: values, shape (n,) or (H, n). noise: their covariance, shape (n, n) or (H, n, n).
    log_likelihood: an additional term of each setting, shape (H,); -inf excludes one.
    """
    covariance = _kernel(given, t, t) + noise
    residual = z - given.slope[:, None] * t
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(
        factor, np.broadcast_to(residual, (len(given.slope), len(t)))[..., None]
    )
    determinant = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    log_mass = given.log_prior + log_likelihood - determinant - 0.5 * np.sum(white**2, axis=(1, 2))
    top = float(log_mass.max())
    if not np.isfinite(top):  # such as budgets of one and the same loss
        raise NoLawError(
            "The default approach finds no path that these runs allow",
            "look at their losses, or try another approach",
        )
    weights = np.exp(log_mass - top)
    evidence = top + float(np.log(weights.sum()))
    kept = np.flatnonzero(weights > NEGLIGIBLE * weights.sum())
    across = np.linalg.solve(factor[kept], np.swapaxes(_kernel(given, at, t)[kept], 1, 2))
    mean = given.slope[kept, None] * at + (np.swapaxes(across, 1, 2) @ white[kept])[..., 0]
    left = _kernel(given, at, at)[kept] - np.swapaxes(across, 1, 2) @ across
    return Regression(weights[kept] / weights[kept].sum(), mean, left, kept, evidence)


def _kernel(given: Hypotheses, s: Array, t: Array) -> Array:
    """Prior covariance between points s and t under each setting, shape (H, len(s), len(t))."""
    deviation, reach = given.deviation[:, None, None], given.reach[:, None, None]
    return np.asarray(VAGUE + deviation**2 * integrated(s[:, None], t[None], reach))


def weighted_median(values: Array, weights: Array) -> Array:
    """Weighted median of each column, interpolated between the two nearest values."""
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    shares = np.cumsum(weights[order], axis=0) - 0.5 * weights[order]
    shares = shares / weights.sum()
    return np.array(
        [np.interp(0.5, share, value) for share, value in zip(shares.T, ordered.T, strict=True)]
    )
