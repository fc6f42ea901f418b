"""answers_by_approach(): the answer of each approach to the same question, from the same runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from isoflop.answers.predict import Optimum, predict
from isoflop.compute.memory import STATE_BYTES_PER_PARAM
from isoflop.display.format import format_count, format_interval
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.fit import Fit, fit
from isoflop.fitting.kriging.approach import Kriging

__all__ = ["ApproachAnswer", "answers_by_approach", "arguments_of", "disagreements"]

RESAMPLES = 200
MOST_RUNS = 2000
"""Number of runs up to which other approaches are fitted; a page must not take minutes."""
APPROACHES: tuple[Approach, ...] = (Bayesian(), Kriging(), Parametric(), IsoFLOP(), Envelope())
NAMES = {
    "Bayesian": "Bayesian: path of the minima",
    "Kriging": "Kriging: law and discrepancy",
    "Parametric": "Approach 3: law through all runs",
    "IsoFLOP": "Approach 2: a parabola per budget",
    "Envelope": "Approach 1: hull of the curves",
}


@dataclass(frozen=True, kw_only=True)
class ApproachAnswer:
    """The answer of one approach, or why it has none."""

    name: str
    optimum: Optimum | None
    reason: str = ""
    is_the_answer: bool = False


def disagreements(each: Sequence[ApproachAnswer]) -> tuple[str, ...]:
    """One sentence for each approach whose interval does not overlap the answer's."""
    answers = [one.optimum for one in each if one.is_the_answer and one.optimum is not None]
    if not answers:
        return ()
    own = answers[0].num_params
    return tuple(
        f"{one.name.partition(':')[0]} puts the best size at {format_count(theirs.value)} params "
        f"({format_interval(theirs.low, theirs.high)}), outside of this answer's interval."
        for one in each
        if not one.is_the_answer and one.optimum is not None
        for theirs in (one.optimum.num_params,)
        if theirs.low > own.high or theirs.high < own.low
    )


def arguments_of(optimum: Optimum) -> dict[str, float]:
    """Arguments of `predict` that ask the question of an answer again."""
    serving, repetition = optimum.serving, optimum.repetition
    given = {"flops": optimum.flops if serving is None else serving.total.value}
    given |= {} if serving is None else {"served_tokens": serving.tokens}
    given |= {} if repetition is None else {"unique_tokens": repetition.unique_tokens}
    if any(note.code == "memory-limited" for note in optimum.notes):  # the size is what it holds
        given["device_memory"] = STATE_BYTES_PER_PARAM * optimum.num_params.value
    return given


def answers_by_approach(fitted: Fit, optimum: Optimum) -> tuple[ApproachAnswer, ...]:
    """The answer, and those of the other approaches to the same question at the same level."""
    others = [approach for approach in APPROACHES if type(approach) is not type(fitted.approach)]
    own = ApproachAnswer(name=_name(fitted.approach), optimum=optimum, is_the_answer=True)
    if len(fitted.runs) > MOST_RUNS:
        return (own,)
    return (own, *(_answer_of(approach, fitted, optimum) for approach in others))


def _answer_of(approach: Approach, fitted: Fit, asked: Optimum) -> ApproachAnswer:
    try:
        other = fit(fitted.runs, approach, resamples=RESAMPLES, level=fitted.level, keep="all")
        answer = predict(other, **arguments_of(asked))
        assert isinstance(answer, Optimum)
        return ApproachAnswer(name=_name(approach), optimum=answer)
    except DataError as error:
        return ApproachAnswer(name=_name(approach), optimum=None, reason=str(error))


def _name(approach: Approach) -> str:
    return NAMES.get(type(approach).__name__, type(approach).__name__)
