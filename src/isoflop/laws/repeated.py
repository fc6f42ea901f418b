"""RepeatedLaw: a law with a finite number of distinct tokens, beyond which tokens are repeated.

N params, D tokens trained, C FLOPs, U distinct tokens; R_D and R_N as in Muennighoff et al. 2023
(2305.16264), eqs. 5-6.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cheapest_size, cost_of
from isoflop.laws.inverses import flops_for
from isoflop.laws.other_laws import DataConstrainedLaw, effective_total

__all__ = ["RepeatedLaw", "repeated_law"]


@dataclass(frozen=True, eq=False)
class RepeatedLaw(Surface):
    """A law in effective params and tokens.

    D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)); N' follows from U_N and R_N in the same way.
    """

    law: Surface
    unique: float
    """U: number of distinct tokens available."""
    fitting: Number
    """U_N: number of params for which U tokens are optimal."""
    R_D: Number
    R_N: Number

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens, `unique` of them distinct."""
        return self.law.loss(*self.effective(N, D))

    def effective(self, N: Number, D: Number) -> tuple[Number, Number]:
        """Params and tokens that would give the same loss without repetition."""
        params = effective_total(N, np.minimum(self.fitting, N), self.R_N)
        return params, effective_total(D, np.minimum(self.unique, D), self.R_D)

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs; the law's own where no token is repeated."""
        cost = cost_of(flops_per_token)
        free, tokens = self.law.optimum(C, flops_per_token)
        N = np.where(tokens <= self.unique, free, cheapest_size(self.loss, C, cost, around=free))
        return N, C / cost(N)


def repeated_law(
    law: Surface, unique: float, flops_per_token: CostPerToken | None = None
) -> RepeatedLaw:
    """A law with `unique` distinct tokens.

    R_D and R_N are those of a DataConstrainedLaw, or the published ones for other laws.
    """
    rates = law if isinstance(law, DataConstrainedLaw) else DataConstrainedLaw()
    unlimited: Surface = law.chinchilla if isinstance(law, DataConstrainedLaw) else law
    paid = flops_for(unlimited, "num_tokens", unique, flops_per_token)
    fitting, _ = unlimited.optimum(paid, flops_per_token)
    # NaN: no compute trains on so many tokens, so no size is in excess.
    reached = np.where(np.isnan(fitting), np.inf, fitting)
    return RepeatedLaw(unlimited, unique, reached[()], *rates.rates)
