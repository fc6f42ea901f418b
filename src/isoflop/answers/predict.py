"""predict(): a fit and a question give an Optimum, the answer with its doubt."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from isoflop import arguments
from isoflop.answers.conditions import Conditions
from isoflop.answers.effects import with_conditions
from isoflop.answers.memory_limit import most_params
from isoflop.answers.optima import Optima
from isoflop.answers.optimum import Optimum
from isoflop.answers.possible import (
    below_notes,
    decades_outside,
    require_possible,
    with_honest_intervals,
)
from isoflop.answers.question import Values, cost_of, read, the_question
from isoflop.answers.search import Place, find
from isoflop.compute.budget import told_of
from isoflop.display.format import format_count, format_flops, format_number, format_percent
from isoflop.fitting.approaches.base import Region
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import CostPerToken, Number
from isoflop.laws.waste import band, wasted_share
from isoflop.runs import tasks_of
from isoflop.task import require_task

if TYPE_CHECKING:
    from isoflop.counting.counting import SizeCount
    from isoflop.task import Task

__all__ = ["Estimate", "Optima", "Optimum", "predict"]

FAR = 30.0
"""Factor beyond the largest run from which an answer is called far."""
WIDE = 3.0
"""Half-width of the interval of params, as a factor, from which on an answer is called wide."""
WASTEFUL = 0.1
"""Expected share of the compute that an answer wastes, from which on that is said."""
SAME_SIZE = 1.25
"""Factor between the best N and that of the nearest size up to which nothing is said: about 2 % of the compute."""


@overload
def predict(
    fit: Fit,
    *,
    flops: float | str | None = None,
    num_params: float | str | None = None,
    num_tokens: float | str | None = None,
    loss: float | None = None,
    served_tokens: float | str | None = None,
    unique_tokens: float | str | None = None,
    device_memory: float | str | None = None,
    task: "Task | None" = None,
) -> Optimum: ...
@overload
def predict(
    fit: Fit,
    *,
    flops: float | str | Sequence[float | str] | None = None,
    num_params: Values | None = None,
    num_tokens: Values | None = None,
    loss: Values | None = None,
    served_tokens: float | str | None = None,
    unique_tokens: float | str | None = None,
    device_memory: float | str | None = None,
    task: "Task | None" = None,
) -> Optimum | Optima: ...
@one_blas_thread
@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def predict(
    fit: Fit,
    *,
    flops: float | str | Sequence[float | str] | None = None,
    num_params: Values | None = None,
    num_tokens: Values | None = None,
    loss: Values | None = None,
    served_tokens: float | str | None = None,
    unique_tokens: float | str | None = None,
    device_memory: float | str | None = None,
    task: "Task | None" = None,
) -> Optimum | Optima:
    """How big a model and how much data, with intervals, the cost of being wrong and the reasons to doubt.

    One question: `flops`, the compute to be spent, also as "8xH100 for 3 days at 40% MFU"; or the compute-optimal
    answer that has `num_params`, `num_tokens` or `loss`. With `task`, the optimum is sought under that model's counted
    FLOPs per token and among sizes that can be built; without, under the FLOPs that the runs record, 6 per param and
    token where they do not differ from it.

    Numbers may be written as "70B" or "1T". Several values, as in `flops=[1e21, 1e22]`, give `Optima`: an answer for
    each, as one table.

    served_tokens: tokens that the model will serve; compute is then that of training and of serving together (Sardana
        et al. 2024, eq. 3: 6 N D + 2 N D_served, or a third of the counted FLOPs of training for each token).
    unique_tokens: distinct training tokens that there are; beyond them some are repeated and worth less (Muennighoff
        et al. 2023, eqs. 5-6).
    device_memory: what one device has, in bytes, as "80 GB" or as "H100": the size is kept to what it holds at 16 bytes
        per param (weight, gradient and AdamW's two moments in fp32; nothing is sharded), and the cost of that is told.

    Raises DataError where not exactly one question is asked, or it has no answer.
    """
    asked = {"flops": flops, "num_params": num_params, "num_tokens": num_tokens, "loss": loss}
    if not isinstance(fit, Fit):
        raise arguments.refused(fit, "predict: fit", "what isoflop.fit(runs) gives")
    if task is not None:
        require_task(task, "predict: task")
    question, given = the_question(asked)
    values = given if isinstance(given, list) else [given]
    answers = [
        _told(fit, question, value, (served_tokens, unique_tokens, device_memory), task)
        for value in values
    ]
    if task is not None and (other := _other_task(fit, task)):
        answers = [replace(answer, notes=(*answer.notes, other)) for answer in answers]
    return Optima(tuple(answers)) if isinstance(given, list) else answers[0]


def _other_task(fit: Fit, task: "Task") -> str:
    """That the runs are of another task than the one that is named; empty where they are of it, or of a table."""
    from isoflop.user_code.fingerprint import fingerprint  # needs torch

    trained = tasks_of(fit.runs)
    if not trained or fingerprint(task) in trained:
        return ""
    return (
        "The runs are not of the task that is named: its model, loss, optimiser, evaluation or data have changed since "
        "they were trained, and the answer holds for it only as far as that does not matter."
    )


def _told(
    fit: Fit, question: str, given: float | str, bounds: tuple[Any, Any, Any], task: "Task | None"
) -> Optimum:
    """The answer for one value, with what was assumed to read it; bounds: tokens served and distinct, memory."""
    value = read(question, given)
    conditions = Conditions.of(*bounds[:2], most_params(bounds[2], question, value))
    answer = _answer(fit, question, value, conditions, task)
    return replace(answer, notes=(*answer.notes, *(told_of(given) if question == "flops" else ())))


def _answer(
    fit: Fit, question: str, value: float, conditions: Conditions, task: "Task | None"
) -> Optimum:
    conditions.check(fit)
    wanted = conditions.paid(question, value)
    cost, told = cost_of(fit, task, lambda cost: conditions.law(fit.law, cost), question, wanted)
    found = find(fit, conditions, cost, question, value)
    place = found.middle
    require_possible(fit, place, conditions)
    flops = float(place.training_flops)
    is_given = question == "flops" and conditions.served_tokens is None
    answer = Optimum(
        flops=flops,
        flops_needed=None if is_given else found.estimate("training_flops"),
        level=fit.level,
        num_params=found.estimate("N"),
        num_tokens=found.estimate("num_tokens"),
        loss=None if place.loss is None else found.estimate("loss"),
        regret=found.regret,
        band=band(place.law, float(place.C), cost),
        extrapolation=decades_outside(fit, flops),
        holdout=fit.holdout,
        notes=(*_notes(fit, flops, found.draws.C), *below_notes(fit, flops), *told),
    )
    if fit.region is not None and question == "flops":
        answer = _with_profile(
            answer, fit.region, place, lambda law: conditions.law(law, cost), cost
        )
    answer = with_conditions(answer, fit, found, conditions)
    answer = with_honest_intervals(answer, fit, question, place)
    answer = replace(answer, notes=(*answer.notes, *_weakness_notes(answer)))
    return answer if task is None else _with_size(answer, task, conditions, place, cost)


def _with_profile(
    answer: Optimum,
    region: Region,
    place: Place,
    bound: Callable[[Any], Any],
    cost: CostPerToken | None,
) -> Optimum:
    """The same values with profile intervals; bound: the law that answers, made of one of the fit's."""

    def between(value: Estimate, measure: Callable[[Any], Any]) -> Estimate:
        low, high = (
            math.exp(end)
            for end in region.range_of(lambda law: float(measure(bound(law))), answer.level)
        )
        return Estimate(value.value, min(low, value.value), max(high, value.value))

    C, offset = place.C, place.offset
    return replace(
        answer,
        num_params=between(answer.num_params, lambda law: law.optimum(C, cost)[0]),
        num_tokens=between(answer.num_tokens, lambda law: law.optimum(C, cost)[1] - offset),
        loss=None
        if answer.loss is None
        else between(answer.loss, lambda law: law.optimal_loss(C, cost)),
    )


def _notes(fit: Fit, target: float, draws: Number) -> tuple[str, ...]:
    notes: list[str] = list(fit.notes)
    for effect in (fit.influence, fit.restored):  # told for the target
        if effect is not None:
            at_fit = effect.note(fit.largest)
            notes = [effect.note(target) if note == at_fit else note for note in notes]
    never = float(np.mean(np.isnan(draws)))
    if never > 0.01:
        notes.append(
            f"{format_percent(never)} of the resamples never reach it; the intervals are of the others."
        )
    if target > FAR * fit.largest:
        beyond = format_number(target / fit.largest, 2)
        notes.append(
            f"The target is {beyond} times the largest run ({format_flops(fit.largest)} FLOPs); "
            f"beyond {FAR:.0f} times, published laws have often failed."
        )
    return tuple(notes)


def _weakness_notes(answer: Optimum) -> tuple[str, ...]:
    """What makes an answer too weak to spend much money on."""
    notes = []
    spread = answer.num_params.high / answer.num_params.low
    if spread > WIDE**2:
        notes.append(
            f"The interval of params is wider than x/÷{WIDE:g} (x/÷{format_number(math.sqrt(spread), 2)}); a budget that "
            f"is three times the largest one would narrow it."
        )
    if answer.regret.value > WASTEFUL:
        notes.append(
            f"Doubt about the optimum is expected to waste {format_percent(answer.regret.value)} of the "
            f"compute; a larger sweep pays for itself until it costs as much."
        )
    return tuple(notes)


def _with_size(
    answer: Optimum, task: "Task", conditions: Conditions, place: Place, cost: CostPerToken | None
) -> Optimum:
    from isoflop.counting.counting import count_size  # these need torch
    from isoflop.counting.sizes import size_near
    from isoflop.planning.specs import paid_tokens

    near = count_size(
        task, size_near(task, answer.num_params.value, most=conditions.most_params).size
    )
    paid = answer.flops if answer.serving is None else answer.serving.total.value
    wasted = wasted_share(place.law, near.num_params, float(place.C), cost)
    return replace(
        answer,
        notes=(*answer.notes, *_size_notes(near, answer.num_params.value, wasted)),
        size=near.size,
        size_num_params=near.num_params,
        size_num_tokens=paid_tokens(task, near, paid) - conditions.offset,
        unit=task.unit,
        loss_unit=task.loss_unit,
        bytes_per_token=task.bytes_per_token,
    )


def _size_notes(near: "SizeCount", best: float, wasted: Any) -> tuple[str, ...]:
    """What is lost where no size that can be built lies near the best one."""
    off = near.num_params / best
    if 1 / SAME_SIZE < off < SAME_SIZE:
        return ()
    lost = "" if wasted is None else f", and wastes {format_percent(float(wasted))} of the compute"
    return (
        f"The nearest size that can be built, {near.size}, has {format_count(near.num_params)} params, "
        f"{format_number(off, 2)} times the best{lost}; name a nearer one in sizes=, or let the model build it.",
    )
