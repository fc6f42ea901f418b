"""What the conditions of a question add to its answer: serving, repetition, and the doubt that they bring."""

import math
from dataclasses import replace

from isoflop.answers.conditions import Conditions
from isoflop.answers.memory_limit import limit_notes
from isoflop.answers.optimum import Optimum
from isoflop.answers.possible import unpaid
from isoflop.answers.repetition import Repetition, repetition_notes, repetition_of, used_up_notes
from isoflop.answers.search import Found, Place
from isoflop.answers.serving import Serving, prices, serving_of
from isoflop.display.format import format_count, format_interval, format_number
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.laws.base import Law
from isoflop.laws.limited import LimitedLaw
from isoflop.laws.repeated import RepeatedLaw
from isoflop.laws.served import ServedLaw

__all__ = ["with_conditions"]

SMALLER = 10.0
"""Factor below the smallest run's params from which an answer is said to be far smaller."""
OUTSIDE = 1.05
"""Factor beyond the runs' tokens per param from which an answer is called outside of them."""


def with_conditions(answer: Optimum, fit: Fit, found: Found, conditions: Conditions) -> Optimum:
    """The answer with what serving and repeating its tokens take; itself where it has no conditions."""
    if conditions == Conditions():
        return answer
    law, repetition = _training(found.middle), _repetition(found)
    told = (
        ()
        if repetition is None or not isinstance(law, RepeatedLaw)
        else (*repetition_notes(repetition, law, fit), *used_up_notes(found))
    )
    notes = (
        *answer.notes,
        *limit_notes(found),
        *_ratio_notes(fit, found.middle),
        *_small_notes(fit, found.middle),
        *told,
    )
    return replace(answer, serving=_serving(found, conditions), repetition=repetition, notes=notes)


def _serving(found: Found, conditions: Conditions) -> Serving | None:
    if conditions.served_tokens is None:
        return None
    place = found.middle
    values, draws = (
        prices(
            _training(place),
            place.C,
            place.N,
            place.paid,
            place.known_loss,
            place.offset,
            found.cost,
        )
        for place in (found.middle, found.draws)
    )
    if not math.isfinite(float(values["saved"])):
        raise DataError(unpaid(float(place.C), float(place.N), conditions.served_tokens))
    return serving_of(conditions.served_tokens, values, draws, found.level)


def _repetition(found: Found) -> Repetition | None:
    law = _training(found.middle)
    if not isinstance(law, RepeatedLaw):
        return None
    return repetition_of(law, float(found.middle.num_tokens), found.draws.num_tokens, found.level)


def _training(place: Place) -> Law:
    """The law where compute pays for training alone."""
    law = place.law.law if isinstance(place.law, LimitedLaw) else place.law
    return law.law if isinstance(law, ServedLaw) else law


def _small_notes(fit: Fit, place: Place) -> tuple[str, ...]:
    """A note where the answer is far smaller than any run, as a small device or much serving makes it."""
    N, least = float(place.N), min(run.num_params for run in fit.runs)
    if least <= N * SMALLER:
        return ()
    return (
        f"The answer has {format_count(N)} params, {format_number(least / N, 2)} times fewer than the smallest run's "
        f"{format_count(least)}: how the loss goes on there is the law's form alone.",
    )


def _ratio_notes(fit: Fit, place: Place) -> tuple[str, ...]:
    """A note where the answer's tokens per param are not among those of the runs."""
    measured = [run.num_tokens / run.num_params for run in fit.runs]
    ratio, least, most = float(place.num_tokens / place.N), min(measured), max(measured)
    if least / OUTSIDE <= ratio <= most * OUTSIDE:
        return ()
    among = format_interval(least, most, lambda value: format_number(value, 2))
    return (
        f"The answer trains {format_number(ratio, 2)} tokens per param, the runs {among}: how the loss goes on outside "
        f"of that is the law's form alone.",
    )
