"""ServedLaw: a law under compute that pays for training a model and for serving it.

N params, D tokens trained, C FLOPs, S tokens served, c(N) FLOPs per training token. Serving a token
takes its forward pass alone, c(N) / 3: 2 of the 6 FLOPs per param. The constraint
C = c(N) D + c(N) S / 3 (Sardana et al. 2024, 2401.00448, eq. 3) is C = c(N) D' with D' = D + S / 3.
With D' in place of D, this law therefore has the interface of any other.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cheapest_size, cost_of

__all__ = ["FORWARD_SHARE", "ServedLaw"]

FORWARD_SHARE = 1 / 3
"""FLOPs of serving a token as a share of those of training on it, 2 of 6."""


@dataclass(frozen=True, eq=False)
class ServedLaw(Surface):
    """A law whose tokens are those trained plus a third of those served: what C FLOPs pay for.

    C is the FLOPs of training and serving together.
    """

    law: Surface
    served: float

    @property
    def offset(self) -> float:
        """Number of training tokens that cost as much as serving does."""
        return self.served * FORWARD_SHARE

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params where C pays for D tokens, a third of the served ones included.

        Infinite where serving leaves no tokens for training.
        """
        trained = np.asarray(D, dtype=float) - self.offset
        return np.where(
            trained > 0, self.law.loss(N, np.maximum(trained, 1e-9 * self.offset)), np.inf
        )[()]

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs of training and serving together."""
        cost = cost_of(flops_per_token)
        free, _ = self.law.optimum(C, flops_per_token)
        most = C / (6 * self.offset)  # at this N, at 6N FLOPs per token, serving takes all of C
        around = 1 / (1 / free + cost(most) / (6 * most) / most)
        N = cheapest_size(self.loss, C, cost, around=around, reach=1e3)
        return N, C / cost(N)
