"""LimitedLaw: a law where no more than so many params can be had.

N params, D tokens, C FLOPs. The loss at C falls towards the best N from below, so the best within the limit is the
limit itself, and all of C that smaller sizes leave goes into tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.laws.additive import CostPerToken, six_per_param

__all__ = ["LimitedLaw"]

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class LimitedLaw:
    """A law, or a law of arrays, whose models have at most `most` params."""

    law: Any
    """Has loss(N, D), optimum(C, flops_per_token) and optimal_loss(C, flops_per_token)."""
    most: float

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens; infinite beyond the limit."""
        return np.where(np.asarray(N) > self.most * (1 + ROUNDING), np.inf, self.law.loss(N, D))[()]

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for within the limit."""
        cost = six_per_param if flops_per_token is None else flops_per_token
        free, tokens = self.law.optimum(C, flops_per_token)
        fits = free <= self.most
        return np.where(fits, free, self.most)[()], np.where(
            fits, tokens, C / cost(np.float64(self.most))
        )[()]

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum within the limit."""
        N, D = self.optimum(C, flops_per_token)
        return np.where(
            self.most > N, self.law.optimal_loss(C, flops_per_token), self.law.loss(N, D)
        )[()]
