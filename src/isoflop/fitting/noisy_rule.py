"""The law of a best setting through few cells of noisy runs: each cell's best with its doubt.

The lowest of some noisy losses may lie far from the best setting, and the parabola around it then
says nothing. Here each cell has a posterior: u is the log of a setting over the recipe's own, and
log loss is the parabola c (offset u + u^2 / 2) with errors of the size that all cells agree on.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from isoflop.fitting.rate_offsets import CURVATURES, REACH, WALL, log_prior_of_curvatures
from isoflop.fitting.setting_rule import LEAST_DEVIATION, USUAL_NOISE, Fitted, law_through
from isoflop.laws.base import Array
from isoflop.recipe import Rule

__all__ = ["TriedCell", "fit_noisy_rule"]

NOISES = np.geomspace(0.0007, 0.12, 16)
NOISE_SPREAD = 1.2
"""Log standard deviation of the noise about the usual one: models of 1e3 params have up to ten
times as much."""


class TriedCell(NamedTuple):
    """Params, tokens, and the (setting, loss) pairs tried there; infinite where a run diverged."""

    num_params: float
    num_tokens: float
    tried: Sequence[tuple[float, float]]


def fit_noisy_rule(cells: Sequence[TriedCell], own: Rule, prior: tuple[float, float]) -> Fitted:
    """The power law through the best settings of cells, each as sure as its losses make it.

    own: the recipe's rule. prior: its exponents of N and D.
    """
    each = [_Posterior(cell, own(cell.num_params, cell.num_tokens)) for cell in cells]
    weights = _shares(
        sum(one.log_evidence for one in each)
        - 0.5 * (np.log(NOISES / USUAL_NOISE) / NOISE_SPREAD) ** 2
    )
    best = [one.best(weights) for one in each]
    return law_through(
        [(cell.num_params, cell.num_tokens) for cell in cells],
        np.array([value for value, _ in best]),
        np.array([variance for _, variance in best]) + LEAST_DEVIATION**2,
        prior,
        noise=float(weights @ NOISES),
        curvature=float(np.median([one.curvature(weights) for one in each])),
    )


class _Posterior:
    """The best setting of one cell, under each noise (K) and curvature (H).

    log_evidence: of each noise, shape (K,). mean, variance: of the offset, shape (K, H).
    above: log over the own setting of the lowest one at which a run diverged.
    """

    def __init__(self, cell: TriedCell, own: float) -> None:
        values, losses = np.array(cell.tried, dtype=float).T
        known = np.isfinite(losses)
        self.log_own = math.log(own)
        self.above = math.log(min(values[~known], default=math.inf) / own)
        u, y = np.log(values[known] / own), np.log(losses[known])
        found = [_offset(u, y, noise) for noise in NOISES]
        log_joint, self.mean, self.variance = map(np.array, zip(*found, strict=True))
        self.log_evidence = np.logaddexp.reduce(log_joint, axis=1)
        self._curvatures = np.exp(log_joint - self.log_evidence[:, None])

    def best(self, weights: Array) -> tuple[float, float]:
        """Mean and variance of the log of the best setting, which is below those that diverge."""
        joint = weights[:, None] * self._curvatures
        offset = float(np.sum(joint * self.mean))
        variance = float(np.sum(joint * (self.variance + (self.mean - offset) ** 2)))
        # the law has a prior of its own, which is not to count once per cell
        precision = max(1 / variance - REACH**-2, 1e-3)
        offset *= 1 / (variance * precision)
        return self.log_own + min(-offset, self.above), 1 / precision

    def curvature(self, weights: Array) -> float:
        """Mean second derivative of the log loss in the log setting."""
        return float(weights @ self._curvatures @ CURVATURES)


def _offset(u: Array, y: Array, noise: float) -> tuple[Array, Array, Array]:
    """Log evidence, mean and variance of the offset under each curvature; each of shape (H,)."""
    if len(u) == 0:  # all runs diverged
        unknown = np.zeros(len(CURVATURES))
        return log_prior_of_curvatures(), unknown, unknown + REACH**2
    precision = 1 / np.hypot(noise, WALL * (y - y.min())) ** 2
    du = u - np.average(u, weights=precision)
    target = y - CURVATURES[:, None] * u**2 / 2
    dt = target - np.average(target, axis=1, weights=precision)[:, None]
    found = CURVATURES**2 * (precision @ du**2) + REACH**-2
    mean = CURVATURES * (dt @ (precision * du)) / found
    misfit = dt**2 @ precision - found * mean**2
    log_mass = np.sum(np.log(precision)) - math.log(precision.sum()) - np.log(found) - misfit
    return 0.5 * log_mass + log_prior_of_curvatures(), mean, 1 / found


def _shares(log_mass: Array) -> Array:
    weights = np.exp(log_mass - log_mass.max())
    return np.asarray(weights / weights.sum())
