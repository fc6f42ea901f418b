"""LimitedLaw: a law with a limit on the number of params.

N params, D tokens, C FLOPs. Below the best N the loss at C falls with N. Where the best N exceeds
the limit, the best allowed N is therefore the limit itself, and the compute saved buys more tokens.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cost_of

__all__ = ["LimitedLaw"]

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class LimitedLaw(Surface):
    """A law, of numbers or arrays, whose models have at most `most` params."""

    law: Surface
    most: float

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens; infinite beyond the limit."""
        return np.where(np.asarray(N) > self.most * (1 + ROUNDING), np.inf, self.law.loss(N, D))[()]

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs within the limit."""
        cost = cost_of(flops_per_token)
        free, tokens = self.law.optimum(C, flops_per_token)
        fits = free <= self.most
        paid = C / cost(np.float64(self.most))
        return np.where(fits, free, self.most)[()], np.where(fits, tokens, paid)[()]

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of the optimum within the limit."""
        N, D = self.optimum(C, flops_per_token)
        return np.where(
            self.most > N, self.law.optimal_loss(C, flops_per_token), self.law.loss(N, D)
        )[()]
