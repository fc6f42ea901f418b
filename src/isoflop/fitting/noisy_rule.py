"""The law of a best setting through few cells of noisy runs: each cell's best with its doubt.

The lowest of some noisy losses may lie far from the best setting, and the parabola around it then
says nothing. Here each cell has a posterior: u is the log of a setting over the recipe's own, and
log loss is, but for the level of its seed, the parabola c (offset u + u^2 / 2) with errors of a
size that cells have about in common.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from isoflop.fitting.cell_offset import (
    CURVATURES,
    NOISES,
    REACH,
    find_misfit,
    find_noises,
    find_offset,
)
from isoflop.fitting.setting_rule import LEAST_DEVIATION, Fitted, law_through
from isoflop.fitting.uncertainty import HALF_90
from isoflop.laws.base import Array
from isoflop.recipe import Rule

__all__ = ["BestSetting", "NoisyRule", "Tried", "TriedCell", "fit_noisy_rule"]


class Tried(NamedTuple):
    """A setting and its loss, infinite where the run diverged; seed: number of the run's seed."""

    value: float
    loss: float
    seed: int = 0


class TriedCell(NamedTuple):
    """Params, tokens, and what was tried there."""

    num_params: float
    num_tokens: float
    tried: Sequence[Tried]


class BestSetting(NamedTuple):
    """The best setting of a cell, and how sure it is.

    deviation: standard deviation of the log of `value`.
    curvature: second derivative of log loss in the log setting.
    """

    value: float
    deviation: float
    curvature: float

    @property
    def factor_90(self) -> float:
        """The factor on either side of `value` within which the best lies with 90 %."""
        return math.exp(HALF_90 * self.deviation)

    def cost(self, setting: float) -> float:
        """Share of loss that another setting costs in the cell."""
        return math.expm1(0.5 * self.curvature * math.log(setting / self.value) ** 2)


class NoisyRule(NamedTuple):
    """The law of a best setting, and the best setting of each cell."""

    law: Fitted
    best: tuple[BestSetting, ...]


def fit_noisy_rule(cells: Sequence[TriedCell], own: Rule, prior: tuple[float, float]) -> NoisyRule:
    """The power law through the best settings of cells, each as sure as its losses make it.

    own: the recipe's rule. prior: its exponents of N and D.
    """
    each = [_Posterior(cell, own(cell.num_params, cell.num_tokens)) for cell in cells]
    common, weights = find_noises(np.array([one.log_evidence for one in each]))
    found = [one.offset(own_weights) for one, own_weights in zip(each, weights, strict=True)]
    # the law has a prior of its own, so that each cell's is not to count there
    bare = [_without_prior(offset, variance) for offset, variance in found]
    best = tuple(
        BestSetting(math.exp(one.at(offset)), math.sqrt(variance), one.curvature(own_weights))
        for one, own_weights, (offset, variance) in zip(each, weights, found, strict=True)
    )
    law = law_through(
        [(cell.num_params, cell.num_tokens) for cell in cells],
        np.array([one.at(offset) for one, (offset, _) in zip(each, bare, strict=True)]),
        np.array([variance for _, variance in bare]) + LEAST_DEVIATION**2,
        prior,
        noise=float(common @ NOISES),
        curvature=float(np.median([one.curvature for one in best])),
    )
    return NoisyRule(law, best)


class _Posterior:
    """The best setting of one cell, under each noise (K) and curvature (H).

    log_evidence: of each noise, shape (K,). mean, variance: of the offset, shape (K, H).
    above: log over the own setting of the lowest one at which a run diverged.
    """

    def __init__(self, cell: TriedCell, own: float) -> None:
        values, losses, seeds = np.array(cell.tried, dtype=float).T
        known = np.isfinite(losses)
        self.log_own = math.log(own)
        self.above = math.log(min(values[~known], default=math.inf) / own)
        u, y = np.log(values[known] / own), np.log(losses[known])
        seed = (seeds[known, None] == np.unique(seeds[known])).astype(float)
        misfit = find_misfit(u, y, seed)
        found = [find_offset(u, y, seed, np.hypot(noise, misfit)) for noise in NOISES]
        log_joint, self.mean, self.variance = map(np.array, zip(*found, strict=True))
        self.log_evidence = np.logaddexp.reduce(log_joint, axis=1)
        self._curvatures = np.exp(log_joint - self.log_evidence[:, None])

    def offset(self, weights: Array) -> tuple[float, float]:
        """Mean and variance of the log of the own setting over the best one."""
        joint = weights[:, None] * self._curvatures
        mean = float(np.sum(joint * self.mean))
        return mean, float(np.sum(joint * (self.variance + (self.mean - mean) ** 2)))

    def at(self, offset: float) -> float:
        """Log of the best setting, which is below those that diverge."""
        return self.log_own + min(-offset, self.above)

    def curvature(self, weights: Array) -> float:
        """Mean second derivative of the log loss in the log setting."""
        return float(weights @ self._curvatures @ CURVATURES)


def _without_prior(offset: float, variance: float) -> tuple[float, float]:
    """Mean and variance of an offset by the losses alone."""
    precision = max(1 / variance - REACH**-2, 1e-3)
    return offset / (variance * precision), 1 / precision
