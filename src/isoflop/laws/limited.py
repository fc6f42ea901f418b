"""LimitedLaw: a law where no more than so many params can be had.

N params, D tokens, C FLOPs. The loss at C falls towards the best N from below, so the best within the limit is the
limit itself, and all of C that smaller sizes leave goes into tokens.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cost_of

__all__ = ["LimitedLaw"]

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class LimitedLaw(Surface):
    """A law, or a law of arrays, whose models have at most `most` params."""

    law: Surface
    most: float

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens; infinite beyond the limit."""
        return np.where(np.asarray(N) > self.most * (1 + ROUNDING), np.inf, self.law.loss(N, D))[()]

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss that C FLOPs pay for within the limit."""
        cost = cost_of(flops_per_token)
        free, tokens = self.law.optimum(C, flops_per_token)
        fits = free <= self.most
        return np.where(fits, free, self.most)[()], np.where(
            fits, tokens, C / cost(np.float64(self.most))
        )[()]

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of the optimum within the limit."""
        N, D = self.optimum(C, flops_per_token)
        return np.where(
            self.most > N, self.law.optimal_loss(C, flops_per_token), self.law.loss(N, D)
        )[()]
