"""Impossible answers are refused; answers outside the runs, or without a width, carry notes.

N params, D tokens, C FLOPs.
"""

import math
from dataclasses import replace

from isoflop.answers.conditions.base import Conditions
from isoflop.answers.optimum import Optimum
from isoflop.answers.outcome import LawOptimum
from isoflop.answers.question import Question
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
from isoflop.notes.note import Note

__all__ = [
    "EXACT_NOTE",
    "decades_outside",
    "require_possible",
    "with_honest_intervals",
]

SAME = 1.1
"""Factor up to which FLOPs equal the smallest run's: counted FLOPs differ from the budget by as
much."""
NO_WIDTH = 1e-12
"""Share of the value below which the width of an interval is rounding."""
LARGEST = 1e60
EXACT = 1e-12
"""Objective up to which a law passes through all runs: squares of log losses, or of log sizes."""
EXACT_NOTE = Note(
    "exact-law",
    "The law goes through the runs exactly, so that its intervals have no width; measured losses "
    "carry noise.",
)
_ENDS = {
    "num_params": (1.0, "params"),
    "num_tokens": (1.0, "tokens"),
    "loss": (0.0, "loss"),
    "flops_needed": (0.0, "FLOPs"),
}
"""Lower limit of each estimate, and its name in notes."""


def require_possible(fit: Fit, place: LawOptimum, conditions: Conditions) -> None:
    """Raise DataError for no optimum, one below one param or token, or an impossible loss."""
    N, D, C = float(place.N), float(place.num_tokens), float(place.C)
    loss = 1.0 if place.loss is None else float(place.loss)
    if 1 <= N <= LARGEST and 1 <= D <= LARGEST and 0 < loss < math.inf:
        return
    if refusal := conditions.refusal(place):
        raise DataError(refusal)
    if not (math.isfinite(N) and math.isfinite(D)):
        raise DataError(
            f"predict: this law has no best size at {format_flops(C)} FLOPs, as its loss does not "
            f"fall with both params and tokens; look at the notes of the fit, or add runs that "
            f"differ more in both."
        )
    what = f"{format_count(N)} params, {format_count(D)} tokens"
    if place.loss is not None:
        what += f" and a loss of {format_number(loss)}"
    raise DataError(
        f"predict: at {format_flops(C)} FLOPs this law's optimum would have {what}, which no model "
        f"can have; stay within reach of the runs "
        f"({format_interval(fit.smallest, fit.largest, format_flops)} FLOPs), or add runs that "
        f"show it."
    )


def decades_outside(fit: Fit, flops: float) -> float:
    """Decades of FLOPs beyond the largest run; negative below the smallest run, 0 inside."""
    if flops * SAME < fit.smallest:
        return math.log10(flops / fit.smallest)
    return max(math.log10(flops / fit.largest), 0.0)


def with_honest_intervals(
    answer: Optimum, fit: Fit, question: Question, place: LawOptimum
) -> Optimum:
    """The answer with ends no lower than possible, and NaN ends for intervals without width.

    Estimates that the question or its conditions fix keep their intervals.
    """
    fixed = question.conditions.fixed(place) | {question.name}
    is_exact = fit.objective < EXACT
    estimates: dict[str, Estimate] = {}
    unknown: list[str] = []
    for name, (least, word) in _ENDS.items():
        given: Estimate | None = getattr(answer, name)
        if given is None:
            continue
        estimates[name] = replace(given, low=least) if given.low < least else given
        if name not in fixed and given.high - given.low <= NO_WIDTH * abs(given.value):
            estimates[name] = given if is_exact else Estimate(given.value, math.nan, math.nan)
            unknown.append(word)
    answer = replace(answer, notes=(*answer.notes, *_width_notes(unknown, is_exact)))
    return replace(answer, **estimates)  # type: ignore[arg-type]  # fields of _ENDS


def _width_notes(unknown: list[str], is_exact: bool) -> tuple[Note, ...]:
    if not unknown:
        return ()
    if is_exact:
        return (EXACT_NOTE,)
    which = "that is" if len(unknown) == 1 else "they are"
    text = (
        f"The resamples do not differ in {join_words(unknown)}, so how sure {which} is unknown; "
        f"add runs that vary more."
    )
    return (Note("no-width", text),)
