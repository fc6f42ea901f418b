"""ServedLaw: a law under compute that pays for training a model and for serving it.

N params, D tokens trained, C FLOPs, S tokens served, c(N) FLOPs per token of training. Serving a token is its forward
pass alone, c(N) / 3: 2 of the 6 FLOPs per param. C = c(N) D + c(N) S / 3 (Sardana et al. 2024, 2401.00448, eq. 3) is
the plain constraint C = c(N) D' for D' = D + S / 3, so all that is asked of a law can be asked of this one.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Number, Surface, cheapest_size, cost_of

__all__ = ["FORWARD_SHARE", "ServedLaw"]

FORWARD_SHARE = 1 / 3
"""Of the FLOPs of a training token, 2 of 6: what serving one takes."""


@dataclass(frozen=True, eq=False)
class ServedLaw(Surface):
    """A law whose tokens are those trained on and a third of the `served` ones: what C FLOPs pay for."""

    law: Surface
    served: float

    @property
    def offset(self) -> float:
        """Training tokens that cost as much as all that is served."""
        return self.served * FORWARD_SHARE

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params where C pays for D tokens, a third of the served among them; infinite where none is left."""
        trained = np.asarray(D, dtype=float) - self.offset
        return np.where(
            trained > 0, self.law.loss(N, np.maximum(trained, 1e-9 * self.offset)), np.inf
        )[()]

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss for which C pays both."""
        cost = cost_of(flops_per_token)
        free, _ = self.law.optimum(C, flops_per_token)
        most = C / (6 * self.offset)  # of which serving alone would take all of C, at 6N
        N = cheapest_size(
            self.loss, C, cost, around=1 / (1 / free + cost(most) / (6 * most) / most), reach=1e3
        )
        return N, C / cost(N)

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of the optimum where C pays for training and serving."""
        return self.loss(*self.optimum(C, flops_per_token))
