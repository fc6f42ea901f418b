"""holdout(): errors of predictions of the largest budgets from the smaller ones.

N params, D tokens, C FLOPs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from isoflop import arguments
from isoflop.display.format import format_change, format_flops, format_number, join_words
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.approaches.isoflop import Valley, valleys
from isoflop.fitting.default import solve_points
from isoflop.fitting.from_name import approach_from
from isoflop.fitting.screening.thinning import sifted
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.cost import cost_for
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["HeldOut", "Holdout", "held_out", "holdout"]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Errors at one budget that was held out: prediction / measurement - 1.

    The measurement is the minimum of the budget's own parabola; NaN without one.
    """

    budget: float
    num_params: float
    num_tokens: float
    loss: float


@dataclass(frozen=True)
class Holdout:
    """Errors at the largest budgets of a law fitted without them."""

    budgets: tuple[HeldOut, ...]
    largest_used: float
    """FLOPs of the largest run that was fitted."""

    def __str__(self) -> str:
        return "; ".join(self._line(held) for held in self.budgets)

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
    points = sifted(runs).points
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
    law = solve_points(seen, approach).solved.law
    cost = cost_for(law, points.runs)
    measured = [valley for valley in valleys(points.runs) if valley.budget >= limit]
    return Holdout(tuple(_errors(law, cost, valley) for valley in measured), float(seen.C.max()))


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
