"""PathLaw: the law of the default approach, the best size and loss at every compute from a table.

N params, D tokens, C FLOPs, L loss; c = log N D.
"""

from dataclasses import InitVar, dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop.laws.additive import IsoflopOptimum, additive_formula
from isoflop.laws.base import Array, Number
from isoflop.laws.valley import ValleyLaw, interpolate_table

__all__ = ["PathLaw"]


@dataclass(frozen=True, eq=False)
class PathLaw(ValleyLaw):
    """The compute-optimal path: numbers for its middle, or arrays of shape (B,) for its draws.

    E, A, B, alpha and beta are those of the additive law that touches the path at the largest runs,
    with the same best size, loss, fall of the loss with compute and rise around the optimum. Beyond
    the runs the path may leave that law.
    """

    E: Number
    A: Number
    B: Number
    alpha: Number
    beta: Number
    nodes: InitVar[Array]
    """Log N D of the table, increasing, shape (K,)."""
    values: InitVar[Array]
    """Log N, log L and log R at the nodes, shape (K, 3) or (K, 3, B)."""

    def __post_init__(self, nodes: Array, values: Array) -> None:
        object.__setattr__(self, "_table", PchipInterpolator(nodes, values))

    def formula(self) -> str:
        """The additive law that touches the path at the largest runs."""
        law = additive_formula(self.E, self.A, self.B, self.alpha, self.beta)
        return f"{law} around the largest runs, and a path that may bend"

    def __str__(self) -> str:
        return self.formula()

    def _computed_valley(self, log_ND: Array) -> IsoflopOptimum:
        log_N, log_loss, log_R = interpolate_table(
            self.__dict__["_table"], np.asarray(log_ND, dtype=float)
        )
        return IsoflopOptimum(log_N, np.exp(log_loss), np.exp(log_R))
