"""Uncertainty of a law: the same approach on resampled runs."""

from typing import Literal

import numpy as np

from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.laws.base import Array, Law
from isoflop.laws.points import Points

__all__ = ["HALF_90", "Intervals", "bootstrap_weights", "leave_one_out_weights", "resampled_law"]

HALF_90 = 1.645
"""Half a 90 % interval of a normal distribution, in standard deviations."""

Intervals = Literal["auto", "bootstrap", "delta", "profile"]


def resampled_law(
    solved: Solved, points: Points, num_resamples: int, seed: int, intervals: Intervals = "auto"
) -> Law:
    """The law with arrays of shape (num_resamples,), drawn by the method `intervals`.

    intervals: "auto" for the approach's own draws if it has any, else a bootstrap; "delta" and
        "profile" draw from the covariance.

    Raises DataError if the approach has no such draws.
    """
    random = np.random.default_rng(seed)
    if intervals == "auto" and solved.draw is not None:
        return solved.draw(num_resamples, random)
    if intervals in ("delta", "profile") and solved.gaussian is not None:
        return solved.gaussian(num_resamples, random)
    if intervals in ("auto", "bootstrap") and solved.refit is not None:
        return solved.refit(bootstrap_weights(points, solved.num_parameters, num_resamples, random))
    raise DataError(
        f"fit: this approach has no {intervals} intervals; leave intervals out, or use "
        f"Parametric()."
    )


def bootstrap_weights(
    points: Points, num_parameters: int, num_resamples: int, random: np.random.Generator
) -> Array:
    """Weights of a Bayesian bootstrap by configuration, shape (num_resamples, n), mean 1.

    Gamma weights instead of counts (Rubin 1981), so that no resample loses a size that a curve
    needs. Replicates and rows of one trained model share a weight. The variance of the weights is
    n / (n - parameters) for n configurations, which corrects for residuals that the fit has shrunk.
    """
    configurations = int(points.cluster.max()) + 1
    shape = max(1 - num_parameters / configurations, 0.2)
    weights = random.gamma(shape, 1 / shape, size=(num_resamples, configurations))
    return np.asarray(weights[:, points.cluster])


def leave_one_out_weights(points: Points) -> Array:
    """Weights that leave out each configuration in turn, shape (configurations, n)."""
    configurations = int(points.cluster.max()) + 1
    return np.asarray(points.cluster[None] != np.arange(configurations)[:, None], dtype=float)
