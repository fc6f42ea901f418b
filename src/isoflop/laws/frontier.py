"""FrontierLaw: power laws of the compute for the optimum, without a law for other sizes.

N params, D tokens, C FLOPs, L loss.
"""

from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import CostPerToken, Law, Number, PowerLaw

__all__ = ["FrontierLaw"]


@dataclass(frozen=True)
class FrontierLaw(Law):
    """The optimum as power laws of the FLOPs (Approaches 1 and 2)."""

    num_params: PowerLaw
    num_tokens: PowerLaw
    loss: PowerLaw | None = None
    """Loss of the optimum; None where the approach has no law for it."""
    sharpness: Number | None = None
    """Second derivative of the loss in log N around the optimum, median over the budgets."""

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs; D is C / flops_per_token(N) where that is given."""
        N = self.num_params(C)
        return N, self.num_tokens(C) if flops_per_token is None else C / flops_per_token(N)

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number | None:
        """Loss of the optimum at C FLOPs; None where the approach has no law for it."""
        return None if self.loss is None else self.loss(C)

    def excess(
        self, N: Number, C: Number, flops_per_token: CostPerToken | None = None
    ) -> Number | None:
        """Loss of N params above the optimum's, by the sharpness of the budgets' curves."""
        if self.loss is None or self.sharpness is None:
            return None
        best, _ = self.optimum(C, flops_per_token)
        return self.sharpness / 2 * np.log(N / best) ** 2

    def formula(self) -> str:
        """The power laws, one per line."""
        lines = {"N": self.num_params, "D": self.num_tokens, "L": self.loss}
        return "\n".join(f"{name} = {law.formula()}" for name, law in lines.items() if law)
