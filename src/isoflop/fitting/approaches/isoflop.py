"""Approach 2: a curve through the runs of each budget, and power laws through the minima.

Hoffmann et al. 2022, section 3.2. N params, D tokens, C FLOPs, L loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoflop import arguments
from isoflop.display.format import format_count
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.curves import CURVES, Curve
from isoflop.fitting.approaches.lines import OFFSET_BUDGETS, loss_law, median, power_law
from isoflop.fitting.screening.diverged import far_off
from isoflop.fitting.ties import lowest
from isoflop.laws.base import Array, entry
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points
from isoflop.notes.merging import BudgetNote
from isoflop.notes.note import Note
from isoflop.runs import Run, runs_of

__all__ = ["IsoFLOP", "Valley", "valleys", "valleys_of"]

LARGEST_WINDOW, LARGEST_LOG = 1e30, 700.0
CurveName = Literal["parabola", "cubic", "akima"]


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The curve of one budget and its minimum, for figures and tables."""

    budget: float
    """Nominal FLOPs of the budget."""
    flops: float
    """Mean counted FLOPs of its runs."""
    runs: tuple[Run, ...]
    """All runs of the budget, by size."""
    window: tuple[float, float]
    """Smallest and largest N to which the curve was fitted."""
    num_params: float
    """N of the minimum; NaN where the curve has no minimum."""
    num_tokens: float
    """D of the minimum, from the curve over tokens."""
    loss: float
    """Loss at the minimum over N."""
    interior: bool
    """Whether the minimum lies between the runs, so that it can be trusted."""
    reason: str = ""
    """A note on why the minimum is not interior and how to repair that; empty where it is."""
    _curve: Curve | None = field(default=None, repr=False, compare=False)

    def loss_at(self, num_params: ArrayLike) -> Array:
        """Loss of the curve at an array of N; NaN without a curve."""
        log_size = np.log(np.asarray(num_params, dtype=float))
        return np.full_like(log_size, np.nan) if self._curve is None else self._curve.at(log_size)


@dataclass(frozen=True)
class IsoFLOP:
    """A curve of loss over log size for each budget, and power laws through the minima.

    The power laws are over the mean counted FLOPs. The loss of the optimum falls to a floor, which
    four budgets or more determine; fewer give no loss.

    Parameters
    ----------
    window
        Runs within a factor of `window` of a budget's best size are used, N and D each with a curve
        of its own; None uses all runs.
    curve
        "parabola" or "cubic" through the losses by least squares, or "akima", which interpolates
        log loss and so needs many sizes and little noise (Porian et al. 2024).
    """

    window: float | None = 4
    curve: CurveName = "parabola"

    def __post_init__(self) -> None:
        if self.window is not None:
            remedy = "None uses every run of a budget"
            read = arguments.number(
                self.window, "IsoFLOP: window", must="above 1", holds=_is_window, remedy=remedy
            )
            object.__setattr__(self, "window", read)
        object.__setattr__(self, "curve", arguments.one_of(self.curve, "IsoFLOP: curve", CURVES))

    def solve(self, points: Points) -> Solved:
        """Power laws of the interior minima; Raises DataError with fewer than two of them."""
        budgets = _budgets(points, self)
        good = [budget for budget in budgets if budget.interior]
        _require_two(budgets, good)

        def refit(weights: Array) -> FrontierLaw:
            return _frontier(good, weights)

        law = entry(_frontier(good, np.ones((1, len(points)))), 0)
        return Solved(
            law=law,
            objective=_scatter(good, law),
            refit=refit,
            num_parameters=3 * len(good),
            notes=(*_reasons(budgets), *_loss_notes(good)),
        )


def _is_window(value: float) -> bool:
    return 1 < value <= LARGEST_WINDOW


def valleys(
    runs: Sequence[Run], window: float | None = 4, curve: CurveName = "parabola"
) -> tuple[Valley, ...]:
    """The curve of each budget in `runs`, by increasing budget.

    Runs without a finite loss or a budget are left out, and so are those that diverged.

    window, curve: as for `IsoFLOP`.

    Raises DataError where `runs` are no runs, or the window or the curve is none.
    """
    usable = [
        run
        for run in runs_of(runs, "valleys")
        if run.status == "completed" and 0 < run.loss < math.inf
    ]
    points = Points.of(usable)
    return valleys_of(points.pick(far_off(points) == 0), window, curve)


def valleys_of(
    points: Points, window: float | None = 4, curve: CurveName = "parabola"
) -> tuple[Valley, ...]:
    """The curve of each budget of all these points."""
    return tuple(budget.valley() for budget in _budgets(points, IsoFLOP(window, curve)))


@dataclass(frozen=True, eq=False)
class _Budget:
    """The runs of one budget and their curves over N and over D."""

    nominal: float
    points: Points
    rows: NDArray[np.intp]
    """Indices into the points."""
    near_N: NDArray[np.bool_]
    """Which of the rows lie in the window of the curve over N."""
    near_D: NDArray[np.bool_]
    shape: str
    reason: Note | None = None

    @property
    def interior(self) -> bool:
        return self.reason is None

    @property
    def flops(self) -> float:
        return float(self.points.C[self.rows].mean())

    def curve(self, values: Array, near: NDArray[np.bool_], weights: Array) -> Curve:
        rows = self.rows[near]
        return CURVES[self.shape][0](np.log(values[rows]), self.points.L[rows], weights[:, rows])

    def minima(self, weights: Array) -> tuple[Array, Array, Array, Array]:
        """log N, log D, loss and curvature of the minima, each of shape (R,)."""
        over_N = self.curve(self.points.N, self.near_N, weights)
        over_D = self.curve(self.points.D, self.near_D, weights)
        return over_N.minimum, over_D.minimum, over_N.lowest, over_N.curvature

    def valley(self) -> Valley:
        ones, sizes = np.ones((1, len(self.points))), self.points.N[self.rows[self.near_N]]
        enough = len(np.unique(sizes)) >= CURVES[self.shape][1]
        curve = self.curve(self.points.N, self.near_N, ones) if enough else None
        minima = self.minima(ones) if enough else [np.array([math.nan])] * 4
        log_N, log_D, loss, _ = (float(values[0]) for values in minima)
        runs = (self.points.runs[row] for row in self.rows)
        return Valley(
            budget=self.nominal,
            flops=self.flops,
            runs=tuple(sorted(runs, key=lambda run: run.num_params)),
            window=(float(sizes.min()), float(sizes.max())),
            num_params=_count(log_N),
            num_tokens=_count(log_D),
            loss=loss,
            interior=self.interior,
            reason=self.reason or "",
            _curve=curve,
        )


def _count(log: float) -> float:
    """Params or tokens from their logarithm.

    NaN for one that no float holds, as from a curve that is almost straight.
    """
    return math.exp(log) if abs(log) < LARGEST_LOG else math.nan


def _budgets(points: Points, approach: IsoFLOP) -> list[_Budget]:
    return [_budget(points, nominal, approach) for nominal in points.budgets]


def _budget(points: Points, nominal: float, approach: IsoFLOP) -> _Budget:
    rows = np.flatnonzero(points.budget == nominal)
    best = rows[lowest(points.L[rows], points.N[rows])]
    near_N = _window(points.N[rows], points.N[best], approach)
    near_D = _window(points.D[rows], points.D[best], approach)
    budget = _Budget(float(nominal), points, rows, near_N, near_D, approach.curve)
    return replace(budget, reason=_reason(budget))


def _window(values: Array, best: float, approach: IsoFLOP) -> NDArray[np.bool_]:
    """Which values lie in the window around the best, at least as many as a curve needs."""
    distance = np.abs(np.log(values / best))
    if approach.window is None:
        return np.ones(len(values), dtype=bool)
    nearest = np.sort(np.abs(np.log(np.unique(values) / best)))[: CURVES[approach.curve][1]][-1]
    return np.asarray(distance <= max(math.log(approach.window), nearest) * (1 + 1e-9))


def _reasons(budgets: Sequence[_Budget]) -> list[Note]:
    return [budget.reason for budget in budgets if budget.reason is not None]


def _reason(budget: _Budget) -> Note | None:
    """Why the minimum of the budget cannot be trusted; None where it can."""
    points, rows = budget.points, budget.rows
    sizes, needed = np.unique(points.N[rows]), CURVES[budget.shape][1]
    if len(sizes) < needed:
        lack = f"has {len(sizes)} sizes, and {_an(budget.shape)} needs {needed}; add sizes to it."
        return BudgetNote("few-sizes", budget.nominal, lack)
    best = points.N[rows][lowest(points.L[rows], points.N[rows])]
    over_N, over_D, _, _ = budget.minima(np.ones((1, len(points))))
    if not np.isfinite(over_N[0] + over_D[0]):
        return _no_minimum(budget.nominal, best)
    smallest, largest = np.log(sizes[[0, -1]])
    if smallest < over_N[0] < largest and sizes[0] < best < sizes[-1]:
        return None
    return _not_bracketed(budget.nominal, best, is_small=best <= np.exp(np.log(sizes).mean()))


def _no_minimum(budget: float, best: float) -> Note:
    text = (
        f"has no minimum (its curve bends down or is flat); "
        f"add sizes on both sides of {format_count(best)}."
    )
    return BudgetNote("no-minimum", budget, text)


def _not_bracketed(budget: float, best: float, *, is_small: bool) -> Note:
    side, edge = ("smallest", "smaller") if is_small else ("largest", "larger")
    text = (
        f"has its lowest loss at the {side} size, {format_count(best)}, so its minimum is not "
        f"bracketed; add {edge} sizes."
    )
    return BudgetNote("not-bracketed", budget, text)


def _an(shape: str) -> str:
    return f"{'an' if shape[0] in 'aeiou' else 'a'} {shape}"


def _frontier(budgets: Sequence[_Budget], weights: Array) -> FrontierLaw:
    """Power laws through the minima of the budgets, for R sets of weights."""
    minima = [budget.minima(weights) for budget in budgets]
    log_N, log_D, loss, bend = (np.stack([m[i] for m in minima], axis=1) for i in range(4))
    usable = np.isfinite(log_N) & np.isfinite(log_D)
    log_C = np.log([budget.flops for budget in budgets])
    N, D = (power_law(log_C, values, usable) for values in (log_N, log_D))
    falling = loss_law(log_C, loss, usable) if len(budgets) >= OFFSET_BUDGETS else None
    return FrontierLaw(N, D, falling, median(bend, usable))


def _loss_notes(budgets: Sequence[_Budget]) -> tuple[Note, ...]:
    """A note where the budgets are too few to show the floor of the loss."""
    if len(budgets) >= OFFSET_BUDGETS:
        return ()
    text = (
        f"Approach 2 gives no loss from {len(budgets)} budgets, which do not show the irreducible "
        f"loss: add budgets up to {OFFSET_BUDGETS}, or take the default approach."
    )
    return (Note("few-loss-budgets", text),)


def _scatter(budgets: Sequence[_Budget], law: FrontierLaw) -> float:
    """Half the sum of squared distances in log N of the minima from their power law."""
    ones = np.ones((1, len(budgets[0].points)))
    away = [
        budget.minima(ones)[0][0] - math.log(law.num_params(budget.flops)) for budget in budgets
    ]
    return 0.5 * math.fsum(step * step for step in away)


def _require_two(budgets: Sequence[_Budget], good: Sequence[_Budget]) -> None:
    if len(budgets) < 2:
        raise DataError(
            f"Approach 2 needs at least 2 budgets, but got {len(budgets)}; "
            f"add runs at another budget."
        )
    if len(good) < 2:
        lacking = [budget.reason for budget in budgets if not budget.interior]
        more = f" {len(lacking) - 1} more budgets have none." if len(lacking) > 1 else ""
        raise DataError(
            f"Approach 2 needs at least 2 budgets with a minimum between their sizes, but got "
            f"{len(good)}. {lacking[0]}{more}"
        )
