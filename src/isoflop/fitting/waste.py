"""What being wrong costs: compute wasted by a size, and the sizes that waste little.

N params, D tokens, C FLOPs, L loss. A loss above the optimum's is worth the FLOPs that the optimum would need to climb
to it, from the slope of the optimal loss in log C; to second order in log N this is METHODS' 1/2 (alpha + beta) x^2.
"""

import math
from typing import Any

import numpy as np

from isoflop.fitting.laws import CostPerToken, FrontierLaw

__all__ = ["band", "wasted_share"]

STEP = 1.05
"""Factor on C over which the slope is taken."""
REACH = 30.0
"""Factor on N within which a band is looked for."""


def wasted_share(law: Any, N: Any, C: float, flops_per_token: CostPerToken | None = None) -> Any:
    """Share of C that training N params wastes if `law` is true; None where the law says nothing about the loss.

    NaN where more compute lowers the loss no further.
    """
    slope = _slope(law, C, flops_per_token)
    if slope is None:
        return None
    best = law.optimum(C, flops_per_token)[0]
    if isinstance(law, FrontierLaw):
        excess = law.sharpness / 2 * np.log(N / best) ** 2
    else:
        excess = law.loss(N, C / _cost(N, flops_per_token)) - law.optimal_loss(C, flops_per_token)
    return np.where(slope > 0, 1 - np.exp(-np.maximum(excess, 0) / slope), np.nan)


def band(law: Any, C: float, flops_per_token: CostPerToken | None = None, *, extra: float = 0.01) -> Any:
    """(smallest, largest) N that reach the optimum's loss with a share `extra` more than C; None without a loss."""
    slope = _slope(law, C, flops_per_token)
    if slope is None:
        return None
    best, _ = law.optimum(C, flops_per_token)
    if isinstance(law, FrontierLaw):
        half = math.sqrt(2 * float(slope) * math.log1p(extra) / float(law.sharpness))
        return float(best * math.exp(-half)), float(best * math.exp(half))
    goal = law.optimal_loss(C, flops_per_token)

    def above(log_N: float) -> float:
        N = math.exp(log_N)
        return float(law.loss(N, (1 + extra) * C / _cost(N, flops_per_token)) - goal)

    middle = math.log(float(best))
    return tuple(math.exp(_crossing(above, middle, middle + side * math.log(REACH))) for side in (-1, 1))


def _slope(law: Any, C: float, flops_per_token: CostPerToken | None) -> Any:
    """Fall of the optimal loss per unit of log C, above 0."""
    above, below = law.optimal_loss(C / STEP, flops_per_token), law.optimal_loss(C * STEP, flops_per_token)
    return None if above is None else (above - below) / (2 * math.log(STEP))


def _cost(N: Any, flops_per_token: CostPerToken | None) -> Any:
    return 6 * N if flops_per_token is None else flops_per_token(N)


def _crossing(above: Any, inside: float, outside: float) -> float:
    """Where a function rises through zero between a point below and a point above it, by bisection."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if above(middle) < 0 else (inside, middle)
    return inside
