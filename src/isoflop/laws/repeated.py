"""RepeatedLaw: a law where distinct tokens are finite, so that training beyond them repeats some.

N params, D tokens trained, C FLOPs, U distinct tokens, R_D and R_N as in Muennighoff et al. 2023 (2305.16264), eq. 5-6.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cheapest_size, cost_of
from isoflop.laws.inverses import flops_for
from isoflop.laws.other_laws import DataConstrainedLaw, worth

__all__ = ["RepeatedLaw", "repeated_law"]


@dataclass(frozen=True, eq=False)
class RepeatedLaw(Surface):
    """A law in effective params and tokens: D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), and N' from U_N alike."""

    law: Surface
    unique: float
    """U: distinct tokens that there are."""
    fitting: Number
    """U_N: the params that U tokens are optimal for."""
    R_D: float
    R_N: float

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens, `unique` of them distinct."""
        return self.law.loss(*self.effective(N, D))

    def effective(self, N: Number, D: Number) -> tuple[Number, Number]:
        """Params and tokens that would do as much without repetition."""
        return worth(N, np.minimum(self.fitting, N), self.R_N), worth(
            D, np.minimum(self.unique, D), self.R_D
        )

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss that C FLOPs pay for; the law's own where no token is repeated."""
        cost = cost_of(flops_per_token)
        free, tokens = self.law.optimum(C, flops_per_token)
        N = np.where(tokens <= self.unique, free, cheapest_size(self.loss, C, cost, around=free))
        return N, C / cost(N)


def repeated_law(
    law: Surface, unique: float, flops_per_token: CostPerToken | None = None
) -> RepeatedLaw:
    """A law with `unique` distinct tokens; R_D and R_N are a DataConstrainedLaw's own."""
    rates = law if isinstance(law, DataConstrainedLaw) else DataConstrainedLaw()
    unlimited: Surface = law.chinchilla if isinstance(law, DataConstrainedLaw) else law
    paid = flops_for(unlimited, "num_tokens", unique, flops_per_token)
    fitting, _ = unlimited.optimum(paid, flops_per_token)
    # more tokens than any compute takes: no size is in excess
    reached = np.where(np.isnan(fitting), np.inf, fitting)
    return RepeatedLaw(unlimited, unique, reached[()], rates.R_D, rates.R_N)
