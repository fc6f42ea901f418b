"""predict(): a fit and a question give an Optimum, the answer with its doubt."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop import text
from isoflop.errors import DataError
from isoflop.fitting.costs import cost_for, interpolated_cost
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.holdout import Holdout
from isoflop.fitting.intervals import LawRegion
from isoflop.fitting.inverses import flops_for, require_answer
from isoflop.fitting.laws import CostPerToken
from isoflop.fitting.threads import one_blas_thread
from isoflop.fitting.waste import band, wasted_share
from isoflop.runs import SizeValue

if TYPE_CHECKING:
    from isoflop.task import Task

__all__ = ["Estimate", "Optimum", "predict"]

FAR = 30.0
"""Factor beyond the largest run from which an answer is called far."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """How big and how long for `flops`: the recommendation, its interval, and the reasons to doubt it."""

    flops: float
    flops_needed: Estimate | None = None
    """`flops` with its interval where params, tokens or a loss were asked for; None where `flops` was the question."""
    level: float
    """Coverage aimed at by every interval, 0.9 for 90 %."""
    num_params: Estimate
    num_tokens: Estimate
    loss: Estimate | None
    """None where the approach says nothing about the loss."""
    regret: Estimate
    """Share of the compute wasted by following the recommendation, expected over the doubt (value); NaN if unknown."""
    band: tuple[float, float] | None
    """Range of num_params that costs at most 1 % more compute for the same loss."""
    extrapolation: float
    """Decades of FLOPs between the largest run and `flops`; 0 inside the runs."""
    size: SizeValue | None = None
    """The buildable size nearest to num_params; None without a task."""
    size_num_params: int | None = None
    size_num_tokens: float | None = None
    """Tokens that `flops` pays for at `size`."""
    unit: str = "token"
    holdout: Holdout | None = None
    """How well the smaller budgets predict the largest one; None with fewer than 4 budgets."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        check = "" if self.holdout is None else f"  held-out check: {self.holdout}"
        parts = (_headline(self), text.columns(_rows(self), "  "), check, text.bullets(self.notes))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        check = [] if self.holdout is None else [f"Held-out check: {self.holdout}"]
        return text.html(_headline(self), [_rows(self)], [*check, *self.notes])


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
    question, value = _the_question(asked)
    cost, told = _cost(fit, task, question, value)
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


def _the_question(asked: dict[str, float | None]) -> tuple[str, float]:
    given = [(name, value) for name, value in asked.items() if value is not None]
    if len(given) != 1:
        names = text.and_list([name for name, _ in given]) or "none"
        raise DataError(
            f"predict answers one question at a time (flops, num_params, num_tokens or loss), but got {names}."
        )
    name, value = given[0]
    if not (value > 0 and math.isfinite(value)):
        raise DataError(f"predict: {name} must be above 0 and finite, but got {value:g}.")
    return name, float(value)


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


def _cost(fit: Fit, task: "Task | None", question: str, value: float) -> tuple[CostPerToken | None, tuple[str, ...]]:
    """FLOPs per token as a function of size, and what is to be said about it."""
    measured = cost_for(fit.law, fit.runs)
    if task is None:
        return measured, () if measured is None else (_measured_note(fit, measured),)
    from isoflop.planning.sizing import count_size, size_near  # needs torch

    cost, notes = measured, tuple[str, ...]()
    for _ in range(2):  # the second time around the optimum under the counted cost
        target = value if question == "flops" else require_answer(fit.law, question, value, cost)
        around = float(fit.law.optimum(target, cost)[0])
        sizes = {near.size: near for near in (size_near(task, around * factor) for factor in (0.25, 0.5, 1, 2, 4))}
        counts = [count_size(task, size) for size in sizes]
        cost = interpolated_cost([c.num_params for c in counts], [c.flops_per_token for c in counts])
        notes = tuple(dict.fromkeys(note for count in counts for note in count.notes))
    return cost, notes


def _measured_note(fit: Fit, cost: CostPerToken) -> str:
    N = max(run.num_params for run in fit.runs)
    ratio = float(cost(np.array(N))) / (6 * N)
    return (
        f"FLOPs are counted as the runs record them, {text.number(ratio, 2)} times 6ND at the largest size "
        f"({text.count(N)}) and beyond it."
    )


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


def _headline(answer: Optimum) -> str:
    return f"Compute-optimal at {text.flops(answer.flops)} FLOPs ({text.percent(answer.level)} intervals)"


def _rows(answer: Optimum) -> list[tuple[str, ...]]:
    """Rows of the printed table: what, value, interval."""
    needed = answer.flops_needed
    rows: list[tuple[str, ...]] = [] if needed is None else [("FLOPs", *_cells(needed, text.flops))]
    rows += [
        ("params", *_cells(answer.num_params)),
        (f"{answer.unit}s", *_cells(answer.num_tokens)),
    ]
    if answer.loss is not None:
        rows.append(
            ("loss", text.number(answer.loss.value, 4), text.interval(answer.loss.low, answer.loss.high, _loss_text))
        )
    if answer.size is not None and answer.size_num_params is not None and answer.size_num_tokens is not None:
        pays = f"{text.count(answer.size_num_params)} params, {text.count(answer.size_num_tokens)} {answer.unit}s"
        rows.append(("size to build", str(answer.size), pays))
    if answer.band is not None:
        rows.append(("near-optimal", text.interval(*answer.band), "params within 1 % of the compute"))
    if math.isfinite(answer.regret.value):
        rows.append(("expected waste", text.percent(answer.regret.value), "of the compute, over the doubt"))
    rows.append(("extrapolation", *_distance(answer.extrapolation)))
    return rows


def _cells(found: Estimate, write: Callable[[float], str] = text.count) -> tuple[str, str]:
    return write(found.value), text.interval(found.low, found.high, write)


def _loss_text(value: float) -> str:
    return text.number(value, 4)


def _distance(decades: float) -> tuple[str, str]:
    if decades == 0:
        return "none", "the target lies within the runs"
    return f"{text.number(10**decades)}x", "the FLOPs of the largest run"
