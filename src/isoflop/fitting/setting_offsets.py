"""How far planned settings are from the best ones, over size: a line with its doubt.

u: log of a setting, a learning rate or a batch, over the planned one; y: log loss; N: params. Near
its minimum y is the parabola c (offset u + u^2 / 2), whose offset is the log of the planned setting
over the best one. The offset is a line over log N.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, softmax

from isoflop.fitting.cell_offset import (
    CURVATURES,
    NOISES,
    REACH,
    SettingPrior,
    apart,
    find_misfit,
    find_noises,
    find_offset,
)
from isoflop.laws.base import Array

__all__ = ["Offsets", "SizeTries", "offsets_of"]

DRAWS = 40
"""Draws of the noises of the sizes."""


class SizeTries(NamedTuple):
    """What was tried at a size: log params, u and y of each run, and the levels of the runs.

    level: (runs, S), as in `find_offset`.
    """

    log_N: float
    u: Array
    y: Array
    level: Array

    @property
    def misfit(self) -> Array:
        """How far each loss may be from the parabola, noise apart."""
        return find_misfit(self.u, self.y, self.level)


@dataclass(frozen=True, eq=False)
class Offsets:
    """Posterior of the offset over log params, a mixture of M parts: noises and curvatures."""

    curvature: Array
    """Shape (M,)."""
    weights: Array
    """Shape (M,), of sum 1."""
    mean: Array
    """Offset at the largest checked size, and its change per log params; shape (M, 2)."""
    covariance: Array
    """Shape (M, 2, 2)."""
    log_largest: float
    """Log params of the largest checked size."""

    def at(self, num_params: float) -> tuple[Array, Array]:
        """Mean and standard deviation of the offset at a size in each part."""
        where = np.array([1.0, math.log(num_params) - self.log_largest])
        variance = np.einsum("i,mij,j->m", where, self.covariance, where)
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


def offsets_of(tries: Sequence[SizeTries], usual: float, known: SettingPrior) -> Offsets:
    """The offsets from runs of two sizes or more at several values of the setting each.

    usual: standard deviation of log loss between seeds that is to be expected.
    """
    drawn = _drawn_noises(tries, usual, known)
    largest = max(one.log_N for one in tries)
    prior = np.diag([REACH**-2, known.slope**-2])
    left, right, squares = (
        np.array(sums)
        for sums in zip(*(_sums(tries, noises, largest) for noises in drawn), strict=True)
    )
    left = left + prior
    covariance = np.linalg.inv(left)
    mean = np.einsum("khij,khj->khi", covariance, right)
    misfit = squares - np.einsum("khi,khi->kh", mean, right)
    log_mass = -0.5 * (misfit + np.linalg.slogdet(left)[1]) + known.log_mass
    weights = softmax(log_mass, axis=1) / DRAWS
    return Offsets(
        curvature=np.tile(CURVATURES, DRAWS),
        weights=weights.ravel(),
        mean=mean.reshape(-1, 2),
        covariance=covariance.reshape(-1, 2, 2),
        log_largest=largest,
    )


def _sums(tries: Sequence[SizeTries], noises: Array, largest: float) -> tuple[Array, Array, Array]:
    """Sums of the least squares for the line under each curvature, for one noise of each size.

    Products of the unknowns (H, 2, 2), products with the losses (H, 2), squares of the losses (H,).
    """
    c = CURVATURES[:, None]
    left, right = np.zeros((len(c), 2, 2)), np.zeros((len(c), 2))
    squares = np.zeros(len(c))
    for one, noise in zip(tries, noises, strict=True):
        where = np.array([1.0, one.log_N - largest])
        precision = np.hypot(noise, one.misfit) ** -2
        du = apart(one.u, one.level, precision)
        dt = apart(one.y - c * one.u**2 / 2, one.level, precision)
        left += c[:, None] ** 2 * (precision @ du**2) * np.outer(where, where)
        right += c * (dt @ (precision * du))[:, None] * where
        squares += dt**2 @ precision
    return left, right, squares


def _drawn_noises(tries: Sequence[SizeTries], usual: float, known: SettingPrior) -> Array:
    """Draws of the noise of each size from what its runs show, (DRAWS, sizes)."""
    evidence = [[_log_evidence(one, noise, known) for noise in NOISES] for one in tries]
    _, weights = find_noises(np.array(evidence), usual)
    random = np.random.default_rng(0)
    ranks = (np.arange(DRAWS) + 0.5) / DRAWS
    return np.stack(
        [
            np.exp(np.interp(random.permutation(ranks), np.cumsum(own), np.log(NOISES)))
            for own in weights
        ],
        axis=1,
    )


def _log_evidence(one: SizeTries, noise: float, known: SettingPrior) -> float:
    """Log probability of the losses of one size, for a noise."""
    error = np.hypot(noise, one.misfit)
    return float(np.logaddexp.reduce(find_offset(one.u, one.y, one.level, error, known)[0]))
