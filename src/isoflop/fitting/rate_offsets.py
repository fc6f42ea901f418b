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
    largest = max(one.log_N for one in tries)
    misfits = [find_misfit(one.u, one.y, one.level) for one in tries]
    noises = _drawn_noises(tries, misfits, usual, known)
    c = CURVATURES[:, None, None]
    left = np.tile(np.diag([REACH**-2, known.slope**-2]), (DRAWS, len(CURVATURES), 1, 1))
    right, squares = np.zeros((DRAWS, len(CURVATURES), 2)), np.zeros((DRAWS, len(CURVATURES)))
    for one, misfit, own in zip(tries, misfits, noises.T, strict=True):
        where = np.array([1.0, one.log_N - largest])
        for k, noise in enumerate(own):
            precision = np.hypot(noise, misfit) ** -2
            du = apart(one.u, one.level, precision)
            dt = apart(one.y - CURVATURES[:, None] * one.u**2 / 2, one.level, precision)
            left[k] += c**2 * (precision @ du**2) * np.outer(where, where)
            right[k] += c[:, 0] * (dt @ (precision * du))[:, None] * where
            squares[k] += dt**2 @ precision
    covariance = np.linalg.inv(left)
    mean = np.einsum("khij,khj->khi", covariance, right)
    misfit_left = squares - np.einsum("khi,khi->kh", mean, right)
    log_mass = -0.5 * (misfit_left + np.linalg.slogdet(left)[1]) + known.log_mass
    weights = softmax(log_mass, axis=1) / DRAWS
    return Offsets(
        curvature=np.tile(CURVATURES, DRAWS),
        weights=weights.ravel(),
        mean=mean.reshape(-1, 2),
        covariance=covariance.reshape(-1, 2, 2),
        log_largest=largest,
    )


def _drawn_noises(
    tries: Sequence[SizeTries], misfits: Sequence[Array], usual: float, known: SettingPrior
) -> Array:
    """Draws of the noise of each size from what its runs show, (DRAWS, sizes)."""
    evidence = [
        [
            np.logaddexp.reduce(
                find_offset(one.u, one.y, one.level, np.hypot(noise, misfit), known)[0]
            )
            for noise in NOISES
        ]
        for one, misfit in zip(tries, misfits, strict=True)
    ]
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
