"""predict(): a fit and a question give an Optimum, the answer with its doubt."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop import text
from isoflop.answers.optimum import Optimum
from isoflop.answers.questions import cost_of, the_question
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.intervals import LawRegion
from isoflop.fitting.inverses import flops_for, require_answer
from isoflop.fitting.laws import CostPerToken
from isoflop.fitting.threads import one_blas_thread
from isoflop.fitting.waste import band, wasted_share

if TYPE_CHECKING:
    from isoflop.task import Task

__all__ = ["Estimate", "Optimum", "predict"]

FAR = 30.0
"""Factor beyond the largest run from which an answer is called far."""


@one_blas_thread
@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def predict(
    fit: Fit,
    *,
    flops: float | None = None,
    num_params: float | None = None,
    num_tokens: float | None = None,
    loss: float | None = None,
    task: "Task | None" = None,
) -> Optimum:
    """How big a model and how much data, with intervals, the cost of being wrong and the reasons to doubt.

    One question: `flops`, the compute to be spent; or the compute-optimal answer that has `num_params`, `num_tokens` or
    `loss`. With `task`, the optimum is sought under that model's counted FLOPs per token and among sizes that can be
    built; without, under the FLOPs that the runs record, 6 per param and token where they do not differ from it.

    Raises DataError where not exactly one question is asked, or it has no answer.
    """
    asked = {"flops": flops, "num_params": num_params, "num_tokens": num_tokens, "loss": loss}
    question, value = the_question(asked)
    cost, told = cost_of(fit, task, question, value)
    target, draws = _compute(fit, question, value, cost)
    N, D = fit.law.optimum(target, cost)
    answer = Optimum(
        flops=target,
        flops_needed=None if question == "flops" else estimate(target, draws, fit.level),
        level=fit.level,
        num_params=estimate(N, fit.resamples.optimum(draws, cost)[0], fit.level),
        num_tokens=estimate(D, fit.resamples.optimum(draws, cost)[1], fit.level),
        loss=_loss(fit, target, draws, cost),
        regret=_regret(fit, float(N), target, cost),
        band=band(fit.law, target, cost),
        extrapolation=max(math.log10(target / fit.largest), 0.0),
        holdout=fit.holdout,
        notes=(*_notes(fit, target, draws), *told),
    )
    if fit.region is not None and question == "flops":
        answer = _with_profile(answer, fit, fit.region, cost)
    return answer if task is None else _with_size(answer, task)


def _with_profile(answer: Optimum, fit: Fit, region: LawRegion, cost: CostPerToken | None) -> Optimum:
    """The same values with profile intervals."""

    def between(value: Estimate, measure: Callable[[Any], Any]) -> Estimate:
        low, high = (math.exp(end) for end in region.range_of(lambda law: float(measure(law)), fit.level))
        return Estimate(value.value, min(low, value.value), max(high, value.value))

    C = answer.flops
    return replace(
        answer,
        num_params=between(answer.num_params, lambda law: law.optimum(C, cost)[0]),
        num_tokens=between(answer.num_tokens, lambda law: law.optimum(C, cost)[1]),
        loss=None if answer.loss is None else between(answer.loss, lambda law: law.optimal_loss(C, cost)),
    )


def _compute(fit: Fit, question: str, value: float, cost: CostPerToken | None) -> tuple[float, Any]:
    """FLOPs of the answer, and of each resample's answer."""
    if question == "flops":
        return value, value
    return require_answer(fit.law, question, value, cost), flops_for(fit.resamples, question, value, cost)


def _loss(fit: Fit, target: float, draws: Any, cost: CostPerToken | None) -> Estimate | None:
    value = fit.law.optimal_loss(target, cost)
    return None if value is None else estimate(value, fit.resamples.optimal_loss(draws, cost), fit.level)


def _regret(fit: Fit, N: float, target: float, cost: CostPerToken | None) -> Estimate:
    wasted = wasted_share(fit.resamples, N, target, cost)
    if wasted is None or not np.isfinite(wasted).any():
        return Estimate(math.nan, math.nan, math.nan)
    finite = wasted[np.isfinite(wasted)]
    return estimate(float(finite.mean()), finite, fit.level)


def _notes(fit: Fit, target: float, draws: Any) -> tuple[str, ...]:
    notes = list(fit.notes)
    if fit.influence is not None:
        at_fit = fit.influence.note(fit.largest)
        notes = [fit.influence.note(target) if note == at_fit else note for note in notes]
    never = float(np.mean(np.isnan(draws)))
    if never > 0.01:
        notes.append(f"{text.percent(never)} of the resamples never reach it; the intervals are of the others.")
    if target > FAR * fit.largest:
        beyond = text.number(target / fit.largest, 2)
        notes.append(
            f"The target is {beyond} times the largest run ({text.flops(fit.largest)} FLOPs); "
            f"beyond {FAR:.0f} times, published laws have often failed."
        )
    return tuple(notes)


def _with_size(answer: Optimum, task: "Task") -> Optimum:
    from isoflop.planning.sizing import count_size, size_near  # needs torch

    near = count_size(task, size_near(task, answer.num_params.value).size)
    return replace(
        answer,
        size=near.size,
        size_num_params=near.num_params,
        size_num_tokens=answer.flops / near.flops_per_token,
        unit=task.unit,
    )
