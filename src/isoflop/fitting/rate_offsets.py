"""How far planned settings are from the best ones, over size: a line with its doubt.

u: log of a setting, a learning rate or a batch, over the planned one; y: log loss; N: params. Near
its minimum y is the parabola c (offset u + u^2 / 2), whose offset is the log of the planned setting
over the best one. The offset is a line over log N.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from isoflop.fitting.setting_rule import PRIOR_DEVIATION
from isoflop.laws.base import Array

__all__ = [
    "CURVATURES",
    "OF_RATES",
    "REACH",
    "WALL",
    "Offsets",
    "OffsetsPrior",
    "log_prior_of_curvatures",
    "offsets_of",
]

CURVATURES = np.geomspace(0.004, 0.5, 25)
WALL = 0.2
"""Error of a log loss as a share of its depth above the lowest: away from the minimum curves rise
like walls on one side."""
REACH = 1.5
"""Prior standard deviation of an offset: a first guess is seldom off by more than 20 times."""


class OffsetsPrior(NamedTuple):
    """What is known of a setting before it is checked.

    curvature, spread: middle and log standard deviation of c.
    slope: standard deviation of the change of the offset per log params.
    """

    curvature: float
    spread: float
    slope: float


OF_RATES = OffsetsPrior(curvature=0.025, spread=0.7, slope=PRIOR_DEVIATION)
"""Of learning rates: c has a median of .019 and a log standard deviation of .5 in the 284 sweeps of
Step Law (2503.04715) that have a minimum inside, .03 to .1 in models of 1e3 to 1e4 params."""


@dataclass(frozen=True, eq=False)
class Offsets:
    """Posterior of the offset over log params, a mixture over H curvatures."""

    curvature: Array
    """Shape (H,)."""
    weights: Array
    """Shape (H,), of sum 1."""
    mean: Array
    """Offset at the largest checked size, and its change per log params; shape (H, 2)."""
    covariance: Array
    """Shape (H, 2, 2)."""
    log_largest: float
    """Log params of the largest checked size."""

    def at(self, num_params: float) -> tuple[Array, Array]:
        """Mean and standard deviation of the offset at a size under each curvature."""
        where = np.array([1.0, math.log(num_params) - self.log_largest])
        variance = np.einsum("i,hij,j->h", where, self.covariance, where)
        return self.mean @ where, np.sqrt(variance)

    def moved(self, shift: float, doubt: float) -> "Offsets":
        """The same for planned settings whose log is larger by `shift`, to an error of `doubt`."""
        level = np.array([1.0, 0.0])
        more = doubt**2 * np.outer(level, level)
        return replace(self, mean=self.mean + shift * level, covariance=self.covariance + more)

    def offset(self, num_params: float) -> tuple[float, float]:
        """Mean and standard deviation of the offset at a size."""
        mean, deviation = self.at(num_params)
        middle = float(self.weights @ mean)
        return middle, math.sqrt(float(self.weights @ (deviation**2 + (mean - middle) ** 2)))

    def sureness(self, num_params: float) -> float:
        """Probability of the likelier sign of the offset at a size."""
        mean, deviation = self.at(num_params)
        above = float(self.weights @ ndtr(mean / deviation))
        return max(above, 1 - above)

    def likely_lost(self, num_params: float) -> float:
        """Log loss that the planned setting costs at a size if its offset is the likeliest one."""
        mean, _ = self.at(num_params)
        return float(self.weights @ (self.curvature * mean**2)) / 2

    def shifted_lost(self, num_params: float, deviations: float) -> float:
        """The same if the offset is larger by so many standard deviations."""
        mean, deviation = self.offset(num_params)
        away = max(abs(mean) + deviations * deviation, 0.0)
        return float(self.weights @ self.curvature) * away**2 / 2

    def mean_lost(self, num_params: float) -> float:
        """Mean of the log loss that the planned setting costs at a size."""
        return self.lost(num_params)[0]

    def lost(self, num_params: float) -> tuple[float, float]:
        """Mean and standard deviation of the log loss that the planned setting costs at a size."""
        mean, deviation = self.at(num_params)
        squares = mean**2 + deviation**2
        fourths = mean**4 + 6 * mean**2 * deviation**2 + 3 * deviation**4
        first = float(self.weights @ (self.curvature * squares)) / 2
        second = float(self.weights @ (self.curvature**2 * fourths)) / 4
        return first, math.sqrt(max(second - first**2, 0.0))


def offsets_of(
    level: Array, log_N: Array, u: Array, y: Array, noise: Array, known: OffsetsPrior = OF_RATES
) -> Offsets:
    """The offsets from runs of two sizes or more at several values of the setting each.

    level: number of the group that each run is of. Runs of a group are alike but for the setting,
        and for their seeds where those are not paired.
    log_N, u, y: of each run. noise: standard deviation of each log loss within its group.
    """
    lowest = np.array([y[level == one].min() for one in level])
    precision = 1 / np.hypot(noise, WALL * (y - lowest)) ** 2
    columns = zip(*_given_each(level, log_N, u, y, precision, known.slope), strict=True)
    means, covariances, masses = (np.array(column) for column in columns)
    log_mass = masses + log_prior_of_curvatures(known)
    weights = np.exp(log_mass - log_mass.max())
    weights /= weights.sum()
    return Offsets(CURVATURES, weights, means, covariances, float(log_N.max()))


def log_prior_of_curvatures(known: OffsetsPrior = OF_RATES) -> Array:
    """Log prior mass of each of CURVATURES, up to a constant."""
    away = np.log(CURVATURES / known.curvature) / known.spread
    return np.asarray(-0.5 * away**2)


def _given_each(
    level: Array, log_N: Array, u: Array, y: Array, precision: Array, slope: float
) -> Iterator[tuple[Array, Array, float]]:
    """Mean, covariance and log evidence of the line under each curvature.

    Given one, the level of each group, the offset and its change are linear.
    """
    levels = (level[:, None] == np.unique(level)).astype(float)
    change = log_N - log_N.max()
    prior = np.diag([0.0] * levels.shape[1] + [REACH**-2, slope**-2])
    for c in CURVATURES:
        design = np.column_stack([levels, c * u, c * u * change])
        target = y - c * u**2 / 2
        left = design.T @ (precision[:, None] * design) + prior
        solution = np.linalg.solve(left, design.T @ (precision * target))
        misfit = precision @ (target - design @ solution) ** 2 + solution @ prior @ solution
        evidence = -0.5 * (misfit + np.linalg.slogdet(left)[1])
        yield solution[-2:], np.linalg.inv(left)[-2:, -2:], float(evidence)
