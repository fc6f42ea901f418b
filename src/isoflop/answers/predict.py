"""predict(): a fit and a question give an Optimum, the answer with intervals and notes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from isoflop import arguments
from isoflop.answers.answer_notes import (
    below_notes,
    far_notes,
    law_notes,
    other_task_notes,
    ratio_notes,
    size_notes,
    small_notes,
    unreached_notes,
    weakness_notes,
)
from isoflop.answers.conditions.base import Condition, Conditions, Order
from isoflop.answers.conditions.memory import DeviceMemory
from isoflop.answers.conditions.repetition import UniqueTokens
from isoflop.answers.conditions.serving import ServedTokens
from isoflop.answers.optima import Optima
from isoflop.answers.optimum import Optimum
from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.answers.possible import (
    decades_outside,
    require_possible,
    with_honest_intervals,
)
from isoflop.answers.question import Question, Values, cost_of, the_question
from isoflop.answers.rates import with_doubt_of_checks
from isoflop.answers.run_loss import RunLoss, RunLosses, run_losses
from isoflop.answers.search import find
from isoflop.compute.budget import reading_notes
from isoflop.counting.sizes_of import sizes_of
from isoflop.errors import DataError
from isoflop.family import Family
from isoflop.fitting.approaches.base import Region
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.waste import band, wasted_share
from isoflop.notes.note import Note
from isoflop.planning.specs import paid_tokens
from isoflop.task import Task

__all__ = ["Estimate", "Optima", "Optimum", "predict"]


@overload
def predict(  # type: ignore[overload-overlap]  # both given is another question than one of them
    fit: Fit, *, num_params: float | str, num_tokens: float | str
) -> RunLoss: ...
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
    conditions: Sequence[Condition] = (),
    task: Task | Family | None = None,
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
    conditions: Sequence[Condition] = (),
    task: Task | Family | None = None,
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
    conditions: Sequence[Condition] = (),
    task: Task | Family | None = None,
) -> Optimum | Optima | RunLoss | RunLosses:
    """The best model size and amount of data, with intervals, expected waste and reasons to doubt.

    Give one quantity: `flops`, the compute to spend, also as "8xH100 for 3 days at 40% MFU"; or
    `num_params`, `num_tokens` or `loss` of a compute-optimal model. With `task`, the optimum holds
    under that model's counted FLOPs per token and comes with the nearest size that can be built.
    Without, it holds under the FLOPs that the runs record, or 6 per param and token where the runs
    agree with that.

    With both `num_params` and `num_tokens`, the answer is the loss that a run of these should
    reach, a `RunLoss`: the law, corrected by the mean residual of the runs at a like distance from
    the optimum, with the interval of the run's measured loss. Lists of equal length give several.

    Numbers may be written as "70B" or "1T". Several values, as in `flops=[1e21, 1e22]`, give
    `Optima`: an answer for each, as one table.

    fit: What `fit` gives.
    served_tokens: Number of tokens that the model will serve. Compute then pays for training and
        serving together (Sardana et al. 2024, eq. 3: 6 N D + 2 N D_served, or a third of the
        counted FLOPs of training for each token).
    unique_tokens: Number of distinct training tokens available. Training longer repeats some of
        them, and repeats are worth less (Muennighoff et al. 2023, eqs. 5-6).
    device_memory: Memory of one device, in bytes, as "80 GB" or as "H100". It limits the size to
        16 bytes per param (weight, gradient and AdamW's two moments in fp32; nothing is sharded);
        a note gives the cost of the limit.
    conditions: Further conditions, instances of subclasses of `Condition`.

    Raises DataError unless exactly one quantity is given, and where it has no answer.
    """
    requested = {"flops": flops, "num_params": num_params, "num_tokens": num_tokens, "loss": loss}
    if not isinstance(fit, Fit):
        raise arguments.refused(fit, "predict: fit", "what isoflop.fit(runs) gives")
    if task is not None:
        sizes_of(task, "predict: task")
    named = _named(served_tokens, unique_tokens, device_memory)
    if num_params is not None and num_tokens is not None and flops is None and loss is None:
        if named or conditions or task is not None:
            raise DataError(
                "predict: the loss of a run of given params and tokens has no conditions and no "
                "task; leave them out, or give one of params and tokens."
            )
        return run_losses(fit, num_params, num_tokens)
    name, given = the_question(requested)
    values = given if isinstance(given, list) else [given]
    every = Conditions((*named, *_own(conditions)))
    answers = [_answer_with_notes(fit, name, value, every, task) for value in values]
    return Optima(tuple(answers)) if isinstance(given, list) else answers[0]


def _named(
    served_tokens: object, unique_tokens: object, device_memory: float | str | None
) -> tuple[Condition, ...]:
    """The conditions that predict's own arguments give."""
    served = () if served_tokens is None else (ServedTokens.of(served_tokens),)
    unique = () if unique_tokens is None else (UniqueTokens.of(unique_tokens),)
    memory = () if device_memory is None else (DeviceMemory.of(device_memory),)
    return (*served, *unique, *memory)


def _own(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The user's conditions. Raises DataError for anything that is not one."""
    listed = tuple(conditions)
    for condition in listed:
        if not isinstance(condition, Condition):
            must = "an instance of a subclass of Condition"
            raise arguments.refused(condition, "predict: each of conditions", must)
    return listed


def _answer_with_notes(
    fit: Fit, name: str, given: object, conditions: Conditions, task: Task | Family | None
) -> Optimum:
    """The answer for one value, with notes about how the value was read and about the task."""
    answer = _answer(fit, Question.of(name, given, conditions), task)
    read = reading_notes(given) if name == "flops" and isinstance(given, str) else ()
    other = other_task_notes(fit, None if task is None else sizes_of(task))
    return replace(answer, notes=(*answer.notes, *read, *other))


def _answer(fit: Fit, question: Question, task: Task | Family | None) -> Optimum:
    conditions = question.conditions
    conditions.check(fit, question.name, question.value)
    cost, cost_notes = cost_of(fit, question, task)
    outcome = find(fit, question, cost)
    place = outcome.middle
    require_possible(fit, place, conditions)
    flops = float(place.training_flops)
    answer = Optimum(
        flops=flops,
        flops_needed=(
            None if question.gives_training_flops else outcome.estimate("training_flops")
        ),
        level=fit.level,
        num_params=outcome.estimate("N"),
        num_tokens=outcome.estimate("num_tokens"),
        loss=None if place.loss is None else outcome.estimate("loss"),
        regret=outcome.regret,
        band=band(place.law, float(place.C), cost),
        extrapolation=decades_outside(fit, flops),
        effects=conditions.effects(outcome),
        holdout=fit.holdout,
        notes=(
            *law_notes(fit, flops),
            *unreached_notes(outcome.draws.C),
            *far_notes(fit, flops),
            *below_notes(fit, flops),
            *cost_notes,
            *_condition_notes(fit, conditions, outcome),
        ),
    )
    if fit.region is not None and question.name == "flops":
        answer = _with_profile(answer, fit.region, place, conditions, cost)
    answer = with_honest_intervals(answer, fit, question, place)
    answer = with_doubt_of_checks(answer, fit, question, place, cost)
    answer = replace(answer, notes=(*answer.notes, *weakness_notes(answer)))
    return answer if task is None else _with_size(answer, task, conditions, place, cost)


def _condition_notes(fit: Fit, conditions: Conditions, outcome: Outcome) -> tuple[Note, ...]:
    """Notes of the conditions, and on sizes and ratios outside the runs' range."""
    if not conditions.given:
        return ()
    return (
        *conditions.notes(outcome, fit, [Order.LIMIT]),
        *ratio_notes(fit, outcome.middle),
        *small_notes(fit, outcome.middle),
        *conditions.notes(outcome, fit, [Order.DATA, Order.COMPUTE]),
    )


def _with_profile(
    answer: Optimum,
    region: Region,
    place: LawOptimum,
    conditions: Conditions,
    cost: CostPerToken | None,
) -> Optimum:
    """The same values with profile intervals."""

    def between(value: Estimate, measure: Callable[[Law], Number]) -> Estimate:
        def bound(law: Law) -> float:
            return float(measure(conditions.law(law, cost)))

        low, high = (math.exp(end) for end in region.range_of(bound, answer.level))
        return Estimate(value.value, min(low, value.value), max(high, value.value))

    C, offset = place.C, place.offset
    return replace(
        answer,
        num_params=between(answer.num_params, lambda law: law.optimum(C, cost)[0]),
        num_tokens=between(answer.num_tokens, lambda law: law.optimum(C, cost)[1] - offset),
        loss=None
        if answer.loss is None
        else between(answer.loss, lambda law: _known_loss(law, C, cost)),
    )


def _known_loss(law: Law, C: Number, cost: CostPerToken | None) -> Number:
    loss = law.optimal_loss(C, cost)
    assert loss is not None
    return loss


def _with_size(
    answer: Optimum,
    task: Task | Family,
    conditions: Conditions,
    place: LawOptimum,
    cost: CostPerToken | None,
) -> Optimum:
    sizes = sizes_of(task)
    near = sizes.count(sizes.near(answer.num_params.value, most=conditions.most_params).size)
    paid = float(place.C)
    wasted = wasted_share(place.law, near.num_params, float(place.C), cost)
    return replace(
        answer,
        notes=(*answer.notes, *size_notes(near, answer.num_params.value, wasted)),
        size=near.size,
        size_num_params=near.num_params,
        size_num_tokens=paid_tokens(sizes, near, paid) - conditions.offset,
        unit=task.unit,
        loss_unit=task.loss_unit,
        bytes_per_token=task.bytes_per_token,
    )
