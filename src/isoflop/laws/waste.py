"""Cost of a wrong size: the compute that it wastes, and the range of sizes that waste little.

N params, D tokens, C FLOPs, L loss. A loss above the optimum's is converted to FLOPs by the slope
of the optimal loss in log C: an optimal run reaches it with less compute, and the rest is wasted.
To second order in log N this is 1/2 (alpha + beta) x^2 (see METHODS).
"""

import math
from collections.abc import Callable

import numpy as np

from isoflop.laws.base import Array, CostPerToken, Law, Number, Surface, cost_of
from isoflop.laws.frontier import FrontierLaw

__all__ = ["band", "expected_waste", "wasted_share"]

STEP = 1.05
"""Factor on C over which the slope is measured."""
REACH = 30.0
"""Factor on N within which a band is searched."""
INTERVAL, WITHIN = (0.05, 0.95), 1.645
"""Quantiles that measure the width of a distribution, and their distance from the middle in
standard deviations of a normal one."""
NODE = math.sqrt(3)
"""Standard deviations at which a function of a normal number is evaluated for its mean, with
weights 1, 4, 1 (Gauss-Hermite quadrature)."""


def wasted_share(
    law: Law, N: Number, C: float, flops_per_token: CostPerToken | None = None
) -> Array | None:
    """Share of C that training N params wastes if `law` is true.

    None where the law does not know the loss; NaN where more compute does not lower the loss.
    """
    return _share(law, N, C, flops_per_token, _slope(law, C, flops_per_token))


def expected_waste(
    law: Law, draws: Law, N: Number, C: float, flops_per_token: CostPerToken | None = None
) -> Array | None:
    """Share of C that training N params is expected to waste, over the draws of the optimum.

    None where the law does not know the loss, NaN where no draw has an optimum.

    The log of the true optimum is taken as normal on either side of the law's optimum, as wide as
    the draws' 90 % interval, and the law's loss curve moves with it. The mean of the draws' own
    waste would be dominated by a few draws with an ill-determined slope: in simulated sweeps with a
    misfit (benchmarks/design) it is 1.4 times the waste at the median. This estimate is 1.1 times
    that, and .75 to 1.3 times where the sweep had a sixteenth of the target's FLOPs or less.
    """
    slope = _slope(law, C, flops_per_token)
    middle = _share(law, N, C, flops_per_token, slope)
    if middle is None:
        return None
    best = law.optimum(C, flops_per_token)[0]
    away = np.log(np.atleast_1d(draws.optimum(C, flops_per_token)[0]) / best)
    away = away[np.isfinite(away)]
    if not len(away):
        return np.full(np.shape(N), np.nan)
    low, high = np.quantile(away, INTERVAL) * NODE / WITHIN
    below, above = (
        _share(law, N * math.exp(-move), C, flops_per_token, slope) for move in (low, high)
    )
    assert below is not None
    assert above is not None
    return np.asarray((below + 4 * middle + above) / 6)


def band(
    law: Law, C: float, flops_per_token: CostPerToken | None = None, *, extra: float = 0.01
) -> tuple[float, float] | None:
    """(smallest, largest) N that reach the optimum's loss with (1 + extra) C FLOPs.

    None where the law does not know the loss, or where compute does not lower it.
    """
    slope = _slope(law, C, flops_per_token)
    if slope is None or not slope > 0:
        return None
    best, _ = law.optimum(C, flops_per_token)
    if isinstance(law, FrontierLaw):
        if law.sharpness is None:
            return None
        half = math.sqrt(2 * float(slope) * math.log1p(extra) / float(law.sharpness))
        return float(best * math.exp(-half)), float(best * math.exp(half))
    assert isinstance(law, Surface)
    surface, goal, cost = law, law.optimal_loss(C, flops_per_token), cost_of(flops_per_token)

    def above(log_N: float) -> float:
        N = math.exp(log_N)
        return float(surface.loss(N, (1 + extra) * C / cost(N)) - goal)

    middle = math.log(float(best))
    low, high = (
        math.exp(_crossing(above, middle, middle + side * math.log(REACH))) for side in (-1, 1)
    )
    return low, high


def _share(
    law: Law, N: Number, C: float, flops_per_token: CostPerToken | None, slope: Number | None
) -> Array | None:
    """`wasted_share`, with the slope of the optimal loss at C known."""
    excess = law.excess(N, C, flops_per_token)
    if slope is None or excess is None:
        return None
    return np.where(slope > 0, 1 - np.exp(-np.maximum(excess, 0) / slope), np.nan)


def _slope(law: Law, C: float, flops_per_token: CostPerToken | None) -> Number | None:
    """Fall of the optimal loss per unit of log C; positive where compute helps."""
    above = law.optimal_loss(C / STEP, flops_per_token)
    below = law.optimal_loss(C * STEP, flops_per_token)
    if above is None or below is None:
        return None
    return (above - below) / (2 * math.log(STEP))


def _crossing(above: Callable[[float], float], inside: float, outside: float) -> float:
    """Zero of a function that is negative inside and positive outside, by bisection."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if above(middle) < 0 else (inside, middle)
    return inside
