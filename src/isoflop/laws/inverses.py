"""The compute whose optimum has a given number of params, number of tokens or loss.

N params, D tokens, C FLOPs.
"""

import math

import numpy as np

from isoflop.display.format import format_number
from isoflop.errors import DataError
from isoflop.laws.base import Array, CostPerToken, Law, Number

__all__ = ["flops_for", "require_answer"]

LEAST, MOST = 1e3, 1e35
"""Range of FLOPs that is searched."""


def flops_for(law: Law, quantity: str, value: Number, cost: CostPerToken | None) -> Array:
    """FLOPs at which a quantity of the optimum has the given value, by bisection.

    quantity: "num_params", "num_tokens" or "loss". A law of arrays gives one number for each of its
    entries, NaN where no compute reaches the value.
    """
    with np.errstate(all="ignore"):
        first, last = (_measure(law, quantity, C, cost) for C in (LEAST, MOST))
        rises = first < last
        reached = (np.minimum(first, last) < value) & (value < np.maximum(first, last))
        low, high = (np.full(np.shape(first), math.log(C)) for C in (LEAST, MOST))
        for _ in range(60):  # 74 / 2^60: exact
            middle = (low + high) / 2
            below = (_measure(law, quantity, np.exp(middle), cost) < value) == rises
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(reached, np.exp(low), math.nan)


def require_answer(law: Law, quantity: str, value: float, cost: CostPerToken | None) -> float:
    """The FLOPs of `flops_for` for one law; Raises DataError where no compute reaches the value."""
    if quantity == "loss" and law.optimal_loss(LEAST, cost) is None:
        raise DataError(
            "predict: this approach has no law for the loss; "
            "give flops, num_params or num_tokens instead."
        )
    flops = float(flops_for(law, quantity, value, cost))
    if math.isfinite(flops):
        return flops
    low, high = sorted(float(_measure(law, quantity, C, cost)) for C in (LEAST, MOST))
    raise DataError(
        f"predict: no compute gives {quantity} {format_number(value)}; the law goes from "
        f"{format_number(low)} to {format_number(high)}, so choose a value in between."
    )


def _measure(law: Law, quantity: str, C: Number, cost: CostPerToken | None) -> Number:
    if quantity == "loss":
        loss = law.optimal_loss(C, cost)
        return math.nan if loss is None else loss
    return law.optimum(C, cost)[0 if quantity == "num_params" else 1]
