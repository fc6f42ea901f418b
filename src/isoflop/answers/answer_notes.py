"""Notes on an answer: reasons to doubt it, each with its code.

N params, C FLOPs.
"""

import math

import numpy as np

from isoflop.answers.optimum import Optimum
from isoflop.answers.outcome import LawOptimum
from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.fitting.fit import Fit
from isoflop.laws.base import Number
from isoflop.notes.note import Note
from isoflop.runs import tasks_of

__all__ = [
    "FAR",
    "below_notes",
    "far_notes",
    "law_notes",
    "other_task_notes",
    "ratio_notes",
    "size_notes",
    "small_notes",
    "unreached_notes",
    "weakness_notes",
]

FAR = 30.0
"""Factor beyond the largest run from which on an answer carries a note."""
WIDE = 3.0
"""Half-width of the interval of params, as a factor, from which on it counts as wide."""
WASTEFUL = 0.1
"""Expected share of the compute wasted, from which on an answer carries a note."""
SAME_SIZE = 1.25
"""Factor between the best N and the nearest size's up to which there is no note: it wastes about
2 % of the compute."""
BELOW = 3.0
"""Factor below the smallest run's FLOPs from which on an answer carries a note."""
SMALLER = 10.0
"""Factor below the smallest run's params from which on an answer counts as far smaller."""
OUTSIDE = 1.05
"""Factor beyond the runs' tokens per param from which on an answer counts as outside them."""


def law_notes(fit: Fit, target: float) -> tuple[Note, ...]:
    """The fit's notes; those that give an answer give it at the target."""
    found = (fit.influence, fit.restored, fit.rates, fit.batches)
    effects = [effect.note(target) for effect in found if effect]
    at_target = {note.code: note for note in effects}
    return tuple(at_target.get(note.code, note) for note in fit.notes)


def unreached_notes(draws: Number) -> tuple[Note, ...]:
    never = float(np.mean(np.isnan(draws)))
    if never <= 0.01:
        return ()
    text = (
        f"{format_percent(never)} of the resamples never reach it; the intervals are of the others."
    )
    return (Note("unreached", text),)


def far_notes(fit: Fit, target: float) -> tuple[Note, ...]:
    if target <= FAR * fit.largest:
        return ()
    text = (
        f"The target is {format_number(target / fit.largest, 2)} times the largest run "
        f"({format_flops(fit.largest)} FLOPs); beyond {FAR:.0f} times, published laws have often "
        f"failed."
    )
    return (Note("far-target", text),)


def below_notes(fit: Fit, flops: float, what: str = "target") -> tuple[Note, ...]:
    """A note for a target, or `what` the question is about, far below the smallest run."""
    if flops * BELOW >= fit.smallest:
        return ()
    text = (
        f"The {what} is a {format_number(fit.smallest / flops, 2)}th of the smallest run's "
        f"{format_flops(fit.smallest)} FLOPs: no run shows how size and loss go on down there."
    )
    return (Note("below-runs", text),)


def small_notes(fit: Fit, place: LawOptimum) -> tuple[Note, ...]:
    """A note where the answer is far smaller than any run, as on a small device."""
    N, least = float(place.N), min(run.num_params for run in fit.runs)
    if least <= N * SMALLER:
        return ()
    text = (
        f"The answer has {format_count(N)} params, {format_number(least / N, 2)} times fewer than "
        f"the smallest run's {format_count(least)}: how the loss goes on there is the law's form "
        f"alone."
    )
    return (Note("far-smaller", text),)


def ratio_notes(fit: Fit, place: LawOptimum) -> tuple[Note, ...]:
    """A note where the answer's tokens per param lie outside the range of the runs."""
    measured = [run.num_tokens / run.num_params for run in fit.runs]
    ratio, least, most = float(place.num_tokens / place.N), min(measured), max(measured)
    if least / OUTSIDE <= ratio <= most * OUTSIDE:
        return ()
    among = format_interval(least, most, lambda value: format_number(value, 2))
    text = (
        f"The answer trains {format_number(ratio, 2)} tokens per param, the runs {among}: how the "
        f"loss goes on outside of that is the law's form alone."
    )
    return (Note("ratio-outside-runs", text),)


def weakness_notes(answer: Optimum) -> tuple[Note, ...]:
    """Notes on an answer too uncertain for a large expense."""
    spread = answer.num_params.high / answer.num_params.low
    wide = (
        f"The interval of params is wider than x/÷{WIDE:g} "
        f"(x/÷{format_number(math.sqrt(spread), 2)}); a budget that is three times the largest one "
        f"would narrow it."
    )
    wasteful = (
        f"Doubt about the optimum is expected to waste {format_percent(answer.regret.value)} of "
        f"the compute; a larger sweep pays for itself until it costs as much."
    )
    return (
        *((Note("wide-interval", wide),) if spread > WIDE**2 else ()),
        *((Note("wasteful-doubt", wasteful),) if answer.regret.value > WASTEFUL else ()),
        *_unknown_waste(answer),
    )


def _unknown_waste(answer: Optimum) -> tuple[Note, ...]:
    """A note where the law gives a loss, but no waste, as more compute does not lower the loss."""
    used_up = any(note.code == "data-used-up" for note in answer.notes)  # which says as much
    if answer.loss is None or answer.band is not None or used_up:
        return ()
    text = (
        f"The law's loss does not fall with compute at {format_flops(answer.flops)} FLOPs, so what "
        f"this or another size would waste is unknown."
    )
    return (Note("waste-unknown", text),)


def size_notes(near: SizeCount, best: float, wasted: Number | None) -> tuple[Note, ...]:
    """A note with the waste where no size that can be built lies near the best one."""
    off = near.num_params / best
    if 1 / SAME_SIZE < off < SAME_SIZE:
        return ()
    lost = "" if wasted is None else f", and wastes {format_percent(float(wasted))} of the compute"
    text = (
        f"The nearest size that can be built, {near.size}, has {format_count(near.num_params)} "
        f"params, {format_number(off, 2)} times the best{lost}; name a nearer one in sizes=, or "
        f"let the model build it."
    )
    return (Note("no-size-near", text),)


def other_task_notes(fit: Fit, sizes: Sizes | None) -> tuple[Note, ...]:
    """A note where the runs were trained with another task; none for runs from a table."""
    trained = tasks_of(fit.runs)
    if sizes is None or not trained or sizes.fingerprint in trained:
        return ()
    text = (
        "The runs are not of the task that is named: its model, loss, optimiser, evaluation or "
        "data have changed since they were trained, and the answer holds for it only as far as "
        "that does not matter."
    )
    return (Note("other-task", text),)
