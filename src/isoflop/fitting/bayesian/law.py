"""PathLaw: what the default answers with, the best size and loss at every compute from a table.

N params, D tokens, C FLOPs, L loss; c = log N D.
"""

from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop.display.format import format_number
from isoflop.laws.points import Array
from isoflop.laws.valley import Valley, ValleyLaw, looked_up

__all__ = ["PathLaw"]


@dataclass(frozen=True, eq=False)
class PathLaw(ValleyLaw):
    """The compute-optimal path, with numbers for its middle or arrays of shape (B,) for its draws.

    E, A, B, alpha, beta: of the additive law that touches the path at the largest runs: the same
    best size, loss, fall of the loss with compute and rise around the optimum. Beyond the runs the
    path may leave it.
    """

    E: Any
    A: Any
    B: Any
    alpha: Any
    beta: Any
    places: InitVar[Array]
    """Log N D, rising, shape (K,)."""
    values: InitVar[Array]
    """Log N, log L and log R at the places, shape (K, 3) or (K, 3, B)."""

    def __post_init__(self, places: Array, values: Array) -> None:
        object.__setattr__(self, "_table", PchipInterpolator(places, values))

    def __str__(self) -> str:
        numbers = (self.E, self.A, self.B, self.alpha, self.beta)
        E, A, B, alpha, beta = (format_number(float(np.median(value)), 3) for value in numbers)
        law = f"L = {E} + {A} / N^{alpha} + {B} / D^{beta}"
        return f"{law} around the largest runs, and a path that may bend"

    def _computed_valley(self, log_ND: Array) -> Valley:
        log_N, log_loss, log_R = looked_up(self.__dict__["_table"], np.asarray(log_ND, dtype=float))
        return Valley(log_N, np.exp(log_loss), np.exp(log_R))
