"""The compute whose optimum has given params, tokens or loss.

N params, D tokens, C FLOPs.
"""

import math

import numpy as np

from isoflop.display.format import format_number
from isoflop.errors import DataError
from isoflop.laws.base import Array, CostPerToken, Law, Number

__all__ = ["flops_for", "require_answer"]

LEAST, MOST = 1e3, 1e35
"""FLOPs between which the answer is looked for."""


def flops_for(law: Law, question: str, value: Number, cost: CostPerToken | None) -> Array:
    """FLOPs at which the optimum's `question` ("num_params", "num_tokens" or "loss") is `value`, by bisection.

    For each of a law of arrays; NaN where there are none.
    """
    with np.errstate(all="ignore"):
        first, last = (_measure(law, question, C, cost) for C in (LEAST, MOST))
        rises, answered = (
            first < last,
            (np.minimum(first, last) < value) & (value < np.maximum(first, last)),
        )
        low, high = (np.full(np.shape(first), math.log(C)) for C in (LEAST, MOST))
        for _ in range(60):  # 74 / 2^60: exact
            middle = (low + high) / 2
            below = (_measure(law, question, np.exp(middle), cost) < value) == rises
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where(answered, np.exp(low), math.nan)


def require_answer(law: Law, question: str, value: float, cost: CostPerToken | None) -> float:
    """The same for one law; Raises DataError where no compute gives the value."""
    if question == "loss" and law.optimal_loss(LEAST, cost) is None:
        raise DataError(
            "predict: this approach has no law for the loss; ask for flops, num_params or num_tokens."
        )
    found = float(flops_for(law, question, value, cost))
    if math.isfinite(found):
        return found
    ends = sorted(float(_measure(law, question, C, cost)) for C in (LEAST, MOST))
    raise DataError(
        f"predict: no compute gives {question} {format_number(value)}; the law goes from {format_number(ends[0])} "
        f"to {format_number(ends[1])}."
    )


def _measure(law: Law, question: str, C: Number, cost: CostPerToken | None) -> Number:
    if question == "loss":
        loss = law.optimal_loss(C, cost)
        return math.nan if loss is None else loss
    return law.optimum(C, cost)[0 if question == "num_params" else 1]
