"""holdout(): errors of predictions of the largest budgets from the smaller ones.

N params, D tokens, C FLOPs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from isoflop import arguments
from isoflop.display.format import (
    format_change,
    format_count,
    format_flops,
    format_interval,
    format_number,
    join_words,
)
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.approaches.isoflop import Valley, valleys_of
from isoflop.fitting.default import screened, solve_points
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.from_name import approach_from
from isoflop.fitting.screening.screen import describe
from isoflop.fitting.threads import one_blas_thread
from isoflop.fitting.uncertainty import resampled_law
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.cost import cost_for
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["HeldOut", "Holdout", "held_out", "holdout"]

LEVEL, DRAWS = 0.9, 300
"""Interval of a prediction that is checked, and its draws."""
MISSES = 2.0
"""Half-widths of the interval by which a measurement must lie off for a note. One in ten lies
outside the interval itself."""
LEAST_MISS = {"loss": 0.03, "best size": 0.5}
"""Least log of the ratio for a note: laws miss held-out losses by 1 to 2 %, and minima have errors
of their own."""
BITS, NEAR_BITS = (math.log(2), 1 / math.log(2)), 0.05


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Errors at one budget that was held out: prediction / measurement - 1.

    The measurement is the minimum of the budget's own parabola; NaN without one.
    """

    budget: float
    num_params: float
    num_tokens: float
    loss: float
    miss: str = ""
    """Why the measurement contradicts the prediction; empty where it does not, as usual."""


@dataclass(frozen=True)
class Holdout:
    """Errors at the largest budgets of a law fitted without them."""

    budgets: tuple[HeldOut, ...]
    largest_used: float
    """FLOPs of the largest run that was fitted."""

    def __str__(self) -> str:
        return "; ".join(self._line(held) for held in self.budgets)

    @property
    def notes(self) -> tuple[Note, ...]:
        """A note on each budget that lies far outside the interval of its own prediction."""
        return tuple(Note("held-out-miss", held.miss) for held in self.budgets if held.miss)

    def _line(self, held: HeldOut) -> str:
        errors = (("params", held.num_params), ("tokens", held.num_tokens), ("loss", held.loss))
        parts = [
            f"{what} off by {format_change(error)}"
            for what, error in errors
            if math.isfinite(error)
        ]
        distance = f"{format_number(held.budget / self.largest_used, 2)}x beyond the rest"
        outcome = join_words(parts) or "no minimum to compare with"
        return f"budget {format_flops(held.budget)} ({distance}): {outcome}"


@one_blas_thread
def holdout(
    runs: Iterable[Run], approach: Approach | str | None = None, *, budgets: int = 1
) -> Holdout:
    """Errors of params, tokens and loss at the largest `budgets` budgets, as the others predict.

    runs, approach: as for `fit`.
    budgets: number of the largest budgets that are held out.

    Raises DataError if fewer than two budgets would be left.
    """
    chosen = approach_from(approach, "holdout")
    budgets = arguments.whole(budgets, "holdout: budgets", least=1)
    points = screened(runs, chosen).points
    if len(points.budgets) < budgets + 2:
        raise DataError(
            f"holdout needs at least 2 budgets besides those held out, but got "
            f"{len(points.budgets)} budgets with {budgets} to be held out; add budgets."
        )
    return held_out(points, chosen, budgets)


@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def held_out(points: Points, approach: Approach | None, budgets: int = 1) -> Holdout:
    """The same for points that have enough budgets."""
    limit = points.budgets[-budgets]
    first = points.C[points.budget >= limit].min()
    seen = points.pick(np.less(points.C, first))
    solved = solve_points(seen, approach).solved
    cost = cost_for(solved.law, points.runs)
    drawn = resampled_law(solved, seen, DRAWS, seed=0)
    measured = [valley for valley in valleys_of(points) if valley.budget >= limit]
    checked = tuple(_checked(solved.law, drawn, cost, valley) for valley in measured)
    return Holdout(checked, float(seen.C.max()))


def _checked(law: Law, drawn: Law, cost: CostPerToken | None, valley: Valley) -> HeldOut:
    held = _errors(law, cost, valley)
    N, loss = drawn.optimum(valley.flops, cost)[0], drawn.optimal_loss(valley.flops, cost)
    for name, error, measured, draws in (
        ("loss", held.loss, valley.loss, loss),
        ("best size", held.num_params, valley.num_params, N),
    ):
        if draws is not None and math.isfinite(error):
            predicted = estimate(measured * (1 + error), draws, LEVEL)
            if _is_miss(predicted, measured, LEAST_MISS[name]):
                return replace(held, miss=_miss(name, predicted, measured, valley))
    return held


def _is_miss(predicted: Estimate, measured: float, least: float) -> bool:
    """Whether a measurement lies outside MISSES times the interval of its prediction, in logs."""
    if not (predicted.low > 0 and predicted.high < math.inf):
        return False
    away = math.log(measured / predicted.value)
    side = predicted.high if away > 0 else predicted.low
    return abs(away) > max(MISSES * abs(math.log(side / predicted.value)), least)


def _miss(name: str, predicted: Estimate, measured: float, valley: Valley) -> str:
    write = format_count if name == "best size" else _four_digits
    ratio = measured / predicted.value
    in_bits = name == "loss" and any(abs(ratio * unit - 1) < NEAR_BITS for unit in BITS)
    unit = ", about the ratio of nats and bits" if in_bits else ""
    rows = join_words([describe(run) for run in valley.runs], most=3)
    return (
        f"The largest budget contradicts the smaller ones: its {name} is {write(measured)}, and "
        f"they predict {write(predicted.value)} ("
        f"{format_interval(predicted.low, predicted.high, write)}), a ratio of {ratio:.3g}{unit}; "
        f"look for what differs in its rows ({rows})."
    )


def _four_digits(value: float) -> str:
    return format_number(value, 4)


def _errors(law: Law, cost: CostPerToken | None, valley: Valley) -> HeldOut:
    N, D = law.optimum(valley.flops, cost)
    loss = law.optimal_loss(valley.flops, cost)
    trusted = 1.0 if valley.interior else math.nan
    return HeldOut(
        budget=valley.budget,
        num_params=trusted * _error(N, valley.num_params),
        num_tokens=trusted * _error(D, valley.num_tokens),
        loss=math.nan if loss is None else trusted * _error(loss, valley.loss),
    )


def _error(predicted: Number, measured: float) -> float:
    """Relative error of a prediction; NaN unless the measurement is positive."""
    return float(predicted) / measured - 1 if 0 < measured < math.inf else math.nan
