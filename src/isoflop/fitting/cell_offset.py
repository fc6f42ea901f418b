"""How far a setting is from the best one in one cell, of given noise; and how noisy cells are.

u: log of a setting, a learning rate or a batch, over the planned one; y: log loss. Near its minimum
y is, but for the level of its seed, the parabola c (offset u + u^2 / 2), whose offset is the log of
the planned setting over the best one.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from isoflop.fitting.setting_rule import PRIOR_DEVIATION, USUAL_NOISE
from isoflop.laws.base import Array

__all__ = [
    "CURVATURES",
    "NOISES",
    "OF_RATES",
    "REACH",
    "SettingPrior",
    "apart",
    "find_misfit",
    "find_noises",
    "find_offset",
]

CURVATURES = np.geomspace(0.004, 0.5, 25)
WALL = 0.2
"""Error of a log loss as a share of its depth above the lowest: away from the minimum curves rise
like walls on one side."""
REACH = 1.5
"""Prior standard deviation of an offset: a first guess is seldom off by more than 20 times."""

NOISES = np.geomspace(0.0007, 0.4, 19)
NOISE_SPREAD, CELL_SPREAD = 1.2, 0.8
"""Log standard deviation of the noise about the usual one, since models of 1e3 params have up to
ten times as much; and of that of a cell about the noise that the cells have in common."""

MISFIT = 0.002
"""Standard deviation of log losses about their parabola, the same in all seeds: with it, the doubt
of rules from three seeds is as large as their errors on Step Law's grids
(`benchmarks/fitting/tuned_rule.py`)."""


class SettingPrior(NamedTuple):
    """What is known of a setting before it is tried.

    curvature, spread: middle and log standard deviation of c.
    slope: standard deviation of the change of the offset per log params.
    """

    curvature: float
    spread: float
    slope: float

    @property
    def log_mass(self) -> Array:
        """Log prior mass of each of CURVATURES, up to a constant."""
        away = np.log(CURVATURES / self.curvature) / self.spread
        return np.asarray(-0.5 * away**2)


OF_RATES = SettingPrior(curvature=0.025, spread=0.7, slope=PRIOR_DEVIATION)
"""Of learning rates: c has a median of .019 and a log standard deviation of .5 in the 284 sweeps of
Step Law (2503.04715) that have a minimum inside, .03 to .1 in models of 1e3 to 1e4 params."""


def find_misfit(u: Array, y: Array, level: Array) -> Array:
    """How far log losses may be from the parabola, noise apart; the same in all seeds of a value.

    So it counts as often as there are seeds: their mean is no nearer. level: as in `find_offset`.
    """
    seeds = np.sum(u[:, None] == u, axis=1)
    lowest = np.min(np.where(level > 0, y[:, None], math.inf), axis=0, initial=math.inf)
    depth = y - level @ lowest
    return np.asarray(np.sqrt(seeds) * np.hypot(MISFIT, WALL * depth))


def find_offset(
    u: Array, y: Array, level: Array, error: Array, known: SettingPrior = OF_RATES
) -> tuple[Array, Array, Array]:
    """Log evidence, mean and variance of the offset under each curvature; each of shape (H,).

    level: (runs, S), 1 where a run is of a level. Runs of one seed have one: they begin with the
        same weights and read the same data. error: standard deviation of each y.
    """
    if len(u) == 0:  # all runs diverged
        unknown = np.zeros(len(CURVATURES))
        return known.log_mass, unknown, unknown + REACH**2
    precision = error**-2
    du = apart(u, level, precision)
    dt = apart(y - CURVATURES[:, None] * u**2 / 2, level, precision)
    found = CURVATURES**2 * (precision @ du**2) + REACH**-2
    mean = CURVATURES * (dt @ (precision * du)) / found
    misfit = dt**2 @ precision - found * mean**2
    log_mass = np.sum(np.log(precision)) - np.sum(np.log(precision @ level))
    log_mass = log_mass - np.log(found) - misfit
    return 0.5 * log_mass + known.log_mass, mean, 1 / found


def apart(values: Array, level: Array, precision: Array) -> Array:
    """Values (..., runs) without the mean of their level, for precisions (runs,)."""
    return np.asarray(values - (values * precision) @ level / (precision @ level) @ level.T)


def find_noises(log_evidence: Array, usual: float = USUAL_NOISE) -> tuple[Array, Array]:
    """Probabilities of each noise in common, shape (K,), and in each cell, shape (cells, K).

    log_evidence: of each noise in each cell, shape (cells, K). usual: the noise to be expected.
    """
    steps = np.log(NOISES[:, None] / NOISES)
    log_about = log_softmax(-0.5 * (steps / CELL_SPREAD) ** 2, axis=1)
    joint = log_about + log_evidence[:, None, :]  # cell, in common, own
    expected = -0.5 * (np.log(NOISES / usual) / NOISE_SPREAD) ** 2
    common = softmax(expected + logsumexp(joint, axis=2).sum(axis=0))
    return common, np.einsum("k,ckj->cj", common, softmax(joint, axis=2))
