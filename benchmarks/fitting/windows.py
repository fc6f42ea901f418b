"""Cases: some budgets of a public sweep are seen, a later one is to be predicted.

Seen are windows of 3, 4 or 5 adjacent budgets of five runs or more, or all budgets below some
place, four at least. Each later budget up to 400 times the largest seen one is a case where its own
minimum is known to 12 %: that of a parabola through log loss over log N.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tables import FAMILIES, SWEEPS, published

from isoflop.laws.points import Points
from isoflop.runs import Run

BANDS = ((1, 2.5), (2.5, 5), (5, 17), (17, 60), (60, 400))
"""Target over the largest seen budget."""
FARTHEST = 400.0
WIDTHS = (3, 4, 5)
ALL_BELOW = 0
"""Stands for all budgets below, among numbers of seen budgets."""
LEAST_RUNS = 5
LEAST_BUDGETS = 4
MOST_DOUBT = 0.12


@dataclass(frozen=True)
class Minimum:
    """Where one budget of a sweep has its lowest loss."""

    budget: float
    log_flops: float
    """Mean over its runs."""
    log_N: float
    doubt: float
    """Standard error of log N; NaN where the minimum is not bracketed."""
    log_loss: float

    @property
    def is_known(self) -> bool:
        return self.doubt < MOST_DOUBT


@dataclass(frozen=True, eq=False)
class Case:
    """One budget to be predicted."""

    sweep: str
    family: str
    num_seen: int
    """Budgets that are seen; ALL_BELOW for all of them."""
    seen: tuple[Run, ...]
    target: Minimum
    ratio: float
    """Target's budget over the largest seen one."""
    is_next: bool
    is_largest: bool
    """Whether the target is the sweep's largest budget."""
    sharpness: float
    """alpha + beta, as the minima of the whole sweep show it."""

    @property
    def flops(self) -> float:
        return math.exp(self.target.log_flops)

    @property
    def band(self) -> tuple[float, float]:
        return next((low, high) for low, high in BANDS if low < self.ratio <= high)


@dataclass(frozen=True, eq=False)
class Sweep:
    name: str
    points: Points
    minima: tuple[Minimum, ...]
    """Of its budgets, by rising compute."""
    sharpness: float

    @classmethod
    def of(cls, name: str) -> "Sweep":
        points = Points.of(published(SWEEPS[name]))
        minima = tuple(
            minimum_of(points.pick(points.budget == budget))
            for budget in points.budgets
            if np.sum(points.budget == budget) >= LEAST_RUNS
        )
        return cls(name, points, minima, _sharpness(points, minima))

    def case(self, num_seen: int, last: int, target: int, seen: tuple[Run, ...]) -> Case:
        return Case(
            sweep=self.name,
            family=FAMILIES[self.name],
            num_seen=num_seen,
            seen=seen,
            target=self.minima[target],
            ratio=self.minima[target].budget / self.minima[last].budget,
            is_next=target == last + 1,
            is_largest=target == len(self.minima) - 1,
            sharpness=self.sharpness,
        )

    def targets(self, last: int) -> list[int]:
        """Later budgets that are near enough and known."""
        return [
            number
            for number in range(last + 1, len(self.minima))
            if self.minima[number].is_known
            and self.minima[number].budget <= FARTHEST * self.minima[last].budget
        ]


def cases() -> list[Case]:
    """Those of all public sweeps; cases of one window follow each other and share their runs."""
    sweeps = [Sweep.of(name) for name in SWEEPS]
    found = itertools.chain.from_iterable(
        (*_adjacent(sweep), *_all_below(sweep)) for sweep in sweeps
    )
    return list(found)


def _adjacent(sweep: Sweep) -> Iterator[Case]:
    for width in WIDTHS:
        for first in range(len(sweep.minima) - width):
            budgets = [each.budget for each in sweep.minima[first : first + width]]
            seen = sweep.points.pick(np.isin(sweep.points.budget, budgets)).runs
            for target in sweep.targets(first + width - 1):
                yield sweep.case(width, first + width - 1, target, seen)


def _all_below(sweep: Sweep) -> Iterator[Case]:
    """With four budgets in all, the largest from the three below it."""
    least = min(LEAST_BUDGETS, len(sweep.minima) - 1)
    for last in range(least - 1, len(sweep.minima) - 1):
        seen = sweep.points.pick(np.less(sweep.points.C, 1.3 * sweep.minima[last].budget)).runs
        for target in sweep.targets(last):
            yield sweep.case(ALL_BELOW, last, target, seen)


def minimum_of(points: Points) -> Minimum:
    """The minimum of the runs of one budget."""
    log_N, loss, doubt = measured(points)
    return Minimum(
        budget=float(points.budget[0]),
        log_flops=float(np.log(points.C).mean()),
        log_N=log_N,
        doubt=doubt,
        log_loss=math.log(loss),
    )


def measured(points: Points) -> tuple[float, float, float]:
    """Log N and loss at a budget's minimum, and the standard error of log N.

    Of a parabola through log loss over log N, runs within x/÷4 of its own minimum and five at
    least; the error is NaN where the minimum is not bracketed, all are where there is none.
    """
    x, y = np.log(points.N), np.log(points.L)
    centre = float(x[np.argmin(y)])
    for _ in range(4):
        away = np.abs(x - centre)
        near = np.argsort(away)[: max(int(np.sum(away <= math.log(4))), 5)]
        basis = np.vander(x[near] - centre, 3)
        bend, slope, level = coefficients = np.linalg.lstsq(basis, y[near])[0]
        if bend <= 0:
            return math.nan, math.nan, math.nan
        step = -slope / (2 * bend)
        found = centre + step
        gradient = np.array([slope / (2 * bend**2), -1 / (2 * bend), 0])
        centre += float(np.clip(step, -0.7, 0.7))
    rest = y[near] - basis @ coefficients
    variance = max(float(rest @ rest) / max(len(near) - 3, 1), 1e-6)
    doubt = math.sqrt(variance * float(gradient @ np.linalg.inv(basis.T @ basis) @ gradient))
    inside = x.min() < found < x.max()
    return float(found), math.exp(level + slope * step / 2), doubt if inside else math.nan


def _sharpness(points: Points, minima: tuple[Minimum, ...]) -> float:
    """alpha + beta: bend of log loss in log N over its fall in log C, as in any additive law.

    Medians over the budgets; what a size that is off costs follows from it.
    """
    known = [each for each in minima if each.is_known]
    falls = -np.gradient([each.log_loss for each in known], [each.log_flops for each in known])
    bends = [_bend(points.pick(points.budget == each.budget), each.log_N) for each in known]
    return float(np.median(np.array(bends) / falls))


def _bend(points: Points, centre: float) -> float:
    away = np.log(points.N) - centre
    near = np.argsort(np.abs(away))[: max(int(np.sum(np.abs(away) <= math.log(4))), 5)]
    return 2 * float(np.polyfit(away[near], np.log(points.L[near]), 2)[0])
