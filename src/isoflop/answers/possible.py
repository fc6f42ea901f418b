"""Answers that no model could be are refused; those outside of the runs, or without a width, say so.

N params, D tokens, C FLOPs.
"""

import math
from dataclasses import replace
from typing import Any

from isoflop.answers.conditions import Conditions
from isoflop.answers.optimum import Optimum
from isoflop.answers.search import Place
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_number,
    join_words,
)
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.limited import LimitedLaw

__all__ = [
    "EXACT_NOTE",
    "below_notes",
    "decades_outside",
    "require_possible",
    "unpaid",
    "with_honest_intervals",
]

BELOW = 3.0
"""Factor below the smallest run's FLOPs from which on an answer says that no run shows it."""
SAME = 1.1
"""Factor up to which FLOPs are those of the smallest run: counted ones differ from the budget by as much."""
NO_WIDTH = 1e-12
"""Of the value: a narrower interval is rounding."""
LARGEST = 1e60
EXACT = 1e-12
"""Objective up to which a law goes through all runs: squares of log losses, or of log sizes."""
EXACT_NOTE = "The law goes through the runs exactly, so that its intervals have no width; measured losses carry noise."
_ENDS = {
    "num_params": (1.0, "params"),
    "num_tokens": (1.0, "tokens"),
    "loss": (0.0, "loss"),
    "flops_needed": (0.0, "FLOPs"),
}
"""What no answer lies below, and the words for it."""


def require_possible(fit: Fit, place: Place, conditions: Conditions) -> None:
    """Raise DataError where the optimum has less than one param or token, or a loss that is none."""
    N, D, C = float(place.N), float(place.num_tokens), float(place.C)
    loss = 1.0 if place.loss is None else float(place.loss)
    if 1 <= N <= LARGEST and 1 <= D <= LARGEST and 0 < loss < math.inf:
        return
    if conditions.served_tokens is not None:
        raise DataError(unpaid(C, N, conditions.served_tokens))
    what = f"{format_count(N)} params, {format_count(D)} tokens"
    if place.loss is not None:
        what += f" and a loss of {format_number(loss)}"
    raise DataError(
        f"predict: at {format_flops(C)} FLOPs this law's optimum would have {what}, which no model can have; ask within "
        f"reach of the runs ({format_interval(fit.smallest, fit.largest, format_flops)} FLOPs), or add runs that show it."
    )


def unpaid(C: float, N: float, served: float) -> str:
    """That compute does not pay for what is to be served."""
    return (
        f"predict: {format_flops(C)} FLOPs must pay for training and for serving {format_count(served)} tokens, but the "
        f"best model for both would have {format_count(N)} params, far outside of what the law can tell; give more "
        f"compute, or fewer served_tokens."
    )


def decades_outside(fit: Fit, flops: float) -> float:
    """Decades of FLOPs beyond the largest run, below 0 for those short of the smallest one; 0 inside the runs."""
    if flops * SAME < fit.smallest:
        return math.log10(flops / fit.smallest)
    return max(math.log10(flops / fit.largest), 0.0)


def below_notes(fit: Fit, flops: float) -> tuple[str, ...]:
    """A note for a target far below the smallest run."""
    if flops * BELOW >= fit.smallest:
        return ()
    return (
        f"The target is a {format_number(fit.smallest / flops, 2)}th of the smallest run's {format_flops(fit.smallest)} "
        f"FLOPs: no run shows how size and loss go on down there.",
    )


def with_honest_intervals(answer: Optimum, fit: Fit, question: str, place: Place) -> Optimum:
    """The answer without ends below one param, one token or a loss of 0, and without intervals that have no width.

    What the question or the device's memory fixes has none, and needs none.
    """
    fixed = {question}
    if isinstance(place.law, LimitedLaw) and place.law.most <= place.N:
        fixed |= {"num_params", "num_tokens"}
    found: dict[str, Any] = {}
    unknown: list[str] = []
    for name, (least, said) in _ENDS.items():
        given: Estimate | None = getattr(answer, name)
        if given is None:
            continue
        found[name] = replace(given, low=max(given.low, least)) if given.low < least else given
        if name not in fixed and given.high - given.low <= NO_WIDTH * abs(given.value):
            found[name] = (
                given if fit.objective < EXACT else Estimate(given.value, math.nan, math.nan)
            )
            unknown.append(said)
    return replace(
        answer, notes=(*answer.notes, *_width_notes(unknown, fit.objective < EXACT)), **found
    )


def _width_notes(unknown: list[str], is_exact: bool) -> tuple[str, ...]:
    if not unknown:
        return ()
    if is_exact:
        return (EXACT_NOTE,)
    which = "that is" if len(unknown) == 1 else "they are"
    return (
        f"The resamples do not differ in {join_words(unknown)}, so how sure {which} is unknown; add runs that "
        f"vary more.",
    )
