"""RepeatedLaw: a law where distinct tokens are finite, so that training beyond them repeats some.

N params, D tokens trained, C FLOPs, U distinct tokens, R_D and R_N as in Muennighoff et al. 2023 (2305.16264), eq. 5-6.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.laws.additive import CostPerToken, cheapest_size, six_per_param
from isoflop.laws.inverses import flops_for
from isoflop.laws.other_laws import DataConstrainedLaw, worth

__all__ = ["RepeatedLaw", "repeated_law"]


@dataclass(frozen=True, eq=False)
class RepeatedLaw:
    """A law in effective params and tokens: D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), and N' from U_N alike."""

    law: Any
    """Has loss(N, D) and optimum(C, flops_per_token)."""
    unique: float
    """U: distinct tokens that there are."""
    fitting: Any
    """U_N: the params that U tokens are optimal for."""
    R_D: float
    R_N: float

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens, `unique` of them distinct."""
        return self.law.loss(*self.effective(N, D))

    def effective(self, N: Any, D: Any) -> tuple[Any, Any]:
        """Params and tokens that would do as much without repetition."""
        return worth(N, np.minimum(self.fitting, N), self.R_N), worth(
            D, np.minimum(self.unique, D), self.R_D
        )

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for; the law's own where no token is repeated."""
        cost = six_per_param if flops_per_token is None else flops_per_token
        free, tokens = self.law.optimum(C, flops_per_token)
        N = np.where(tokens <= self.unique, free, cheapest_size(self.loss, C, cost, around=free))
        return N, C / cost(N)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        return self.loss(*self.optimum(C, flops_per_token))


def repeated_law(
    law: Any, unique: float, flops_per_token: CostPerToken | None = None
) -> RepeatedLaw:
    """A law, or a law of arrays, with `unique` distinct tokens; R_D and R_N are a DataConstrainedLaw's own."""
    rates = law if isinstance(law, DataConstrainedLaw) else DataConstrainedLaw
    plain = law.chinchilla if isinstance(law, DataConstrainedLaw) else law
    paid = flops_for(plain, "num_tokens", unique, flops_per_token)
    fitting, _ = plain.optimum(paid, flops_per_token)
    reached = np.where(
        np.isnan(fitting), np.inf, fitting
    )  # more tokens than any compute takes: no size is in excess
    return RepeatedLaw(plain, unique, reached[()], rates.R_D, rates.R_N)
