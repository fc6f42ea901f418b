"""Outcome: the optimum that answers a question, for the law of a fit and for each of its draws.

C FLOPs, N params; paid: tokens that C pays for, those trained on and those that serving is worth.
"""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fitting.estimates import Estimate, estimate
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.waste import expected_waste, wasted_share

__all__ = ["LawOptimum", "Outcome"]


@dataclass(frozen=True, eq=False)
class LawOptimum:
    """Optimum of a law, or of each law of arrays, at C FLOPs."""

    laws: tuple[Law, ...]
    """The law of the fit, then the law after each condition; the last one holds under all."""
    conditions: tuple[object, ...]
    """The conditions, in the order in which they were applied."""
    C: Number
    N: Number
    paid: Number
    loss: Number | None
    """None where the law does not give the loss."""
    offset: float
    """Training tokens that cost as much as serving."""

    @property
    def law(self) -> Law:
        """The law under all conditions."""
        return self.laws[-1]

    def law_before(self, condition: object) -> Law:
        """The law under the conditions applied before this one."""
        return self.laws[self.conditions.index(condition)]

    def law_after(self, condition: object) -> Law:
        """The law under this condition and those applied before it."""
        return self.laws[self.conditions.index(condition) + 1]

    @property
    def known_loss(self) -> Number:
        """The loss, for laws that give it for every (N, D)."""
        assert self.loss is not None
        return self.loss

    @property
    def num_tokens(self) -> Number:
        """Tokens trained on."""
        return self.paid - self.offset

    @property
    def training_flops(self) -> Number:
        """FLOPs of training alone."""
        return self.C * (self.num_tokens / self.paid)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The optimum of the fitted law and those of its draws."""

    middle: LawOptimum
    draws: LawOptimum
    cost: CostPerToken | None
    level: float

    def estimate(self, name: str) -> Estimate:
        """One attribute of the places, with its interval."""
        return estimate(
            getattr(self.middle, name), np.atleast_1d(getattr(self.draws, name)), self.level
        )

    @property
    def regret(self) -> Estimate:
        """Expected share of C wasted by the middle's size.

        NaN for a law without a loss, and where more compute does not lower it.
        """
        N, C = float(self.middle.N), float(self.middle.C)
        wasted = wasted_share(self.draws.law, N, C, self.cost)
        if wasted is None:
            return estimate(math.nan, np.array([math.nan]), self.level)
        expected = expected_waste(self.middle.law, self.draws.law, N, C, self.cost)
        share = math.nan if expected is None else float(expected)
        known = np.isfinite(wasted) & math.isfinite(share)
        return estimate(share, wasted[known], self.level)
