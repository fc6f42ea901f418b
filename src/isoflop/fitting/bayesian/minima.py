"""The minimum of each budget, from parabolas that share what they have in common.

x log N, L loss, u = x minus the budget's centre. Within x/÷WINDOW of a budget's minimum the log
loss is a parabola v + slope u + bend u^2 / 2 (Approach 2; Hoffmann et al. 2022, section 3.2). The
bends of one sweep differ little, and so does its noise, so that each budget's are drawn towards
those of all: a budget of four sizes has a minimum then, and its standard error can be believed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["Minima", "find_minima"]

WINDOW = math.log(4)
"""Of log N on either side. With 3.3 or 5 instead of 4 the held-out score is 3 and 8 % worse."""
LEAST_SIZES = 3
FEWEST = 5
"""Runs that a window takes at least, where the budget has them."""
BEND_WIDTH = 0.2
"""Standard deviation of a budget's bend around the middle one of its sweep, as a share of it."""
USUAL_BEND, LEAST_BEND = 0.02, 0.002
"""Where no budget shows one, and below which none is believed."""
NOISE_RUNS = 3.0
"""Degrees of freedom that the noise of all budgets counts for in each one's."""
LEAST_NOISE = 1e-6
MOST_OVER_USUAL = 2.0
"""Most that the noise may be over the one of the middle run, so that a few bad runs do not hide among themselves."""
LARGEST_STEP = 0.7
PASSES, SETTLED = 20, 0.05
"""Most passes, and the change of log N and of the noise from which on there are no more: bad runs in several budgets
hide each other at first."""
ROBUST = 6.0
"""Standard deviations from which on a run counts nothing; below, by Tukey's bisquare (Beaton and Tukey 1974)."""
LEAST_KEPT = 2
"""Runs that a parabola with the others' bend needs; where fewer are near it, the noise is larger than it seems."""
OUTSIDE = 0.7
"""Log N that a minimum may lie beyond the budget's sizes and still count, with more doubt."""
OUTSIDE_DOUBT, OUTSIDE_STEP = 0.5, 0.1
"""Of its distance beyond them, and of a step more."""
LEAST_ERROR, LEAST_LOSS_ERROR = 0.01, 0.0005
"""Standard errors of log N and of log loss below which nobody's recipe repeats itself."""
MOST_ERROR = 1.0
"""Standard error of log N from which on a budget tells nothing."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Where budgets have their lowest loss; fields of shape (m,), by rising compute."""

    log_flops: Array
    """Mean over the runs in the window."""
    log_N: Array
    error: Array
    """Standard error of log N."""
    log_loss: Array
    loss_error: Array
    bend: float
    """Second derivative of the log loss in log N, the middle one of the sweep."""
    bend_error: float
    """Of the log of the bend."""
    outliers: NDArray[np.bool_]
    """Which of all runs lie in a window and count nothing there."""

    def __len__(self) -> int:
        return len(self.log_N)


@dataclass(frozen=True, eq=False)
class _Budget:
    rows: NDArray[np.intp]
    """Into the points."""
    x: Array
    y: Array
    log_flops: Array
    centre: float

    def window(self) -> NDArray[np.intp]:
        away = np.abs(self.x - self.centre)
        near = max(int(np.sum(away <= WINDOW)), min(FEWEST, len(away)))
        return np.argsort(away, kind="stable")[:near]


@dataclass(frozen=True, eq=False)
class _Parabola:
    coefficients: Array
    """v, slope, bend."""
    precision: Array
    """Of the coefficients in units of the noise, shape (3, 3)."""
    rows: NDArray[np.intp]
    """Into the budget's runs."""
    weights: Array
    residual: Array
    """Of the runs, before their weights."""
    freedom: float
    alone: tuple[float, float]
    """Bend that the budget has by itself, and its variance in units of the noise."""

    @property
    def squares(self) -> float:
        """Sum of the weighted squares."""
        return float(self.weights @ self.residual**2)

    @property
    def step(self) -> float:
        """From the centre to the minimum."""
        return float(-self.coefficients[1] / self.coefficients[2])


def find_minima(points: Points) -> Minima:
    """The minima of the budgets that have one; runs of no budget are left out."""
    budgets = _budgets(points)
    bend, noise = math.nan, math.nan
    found: list[_Parabola] = []
    for _ in range(PASSES):
        found = [_parabola(budget, bend, noise) for budget in budgets]
        before, noise = noise, _noise(found)
        bend = _shared_bend(found, noise)[0]
        moved = max((abs(each.step) for each in found if each.coefficients[2] > 0), default=0.0)
        budgets = [_recentred(*pair) for pair in zip(budgets, found, strict=True)]
        if moved < SETTLED and abs(before - noise) < SETTLED * noise:
            break
    rows = [_minimum(*pair, noise) for pair in zip(budgets, found, strict=True)]
    columns = np.array([row for row in rows if row is not None]).reshape(-1, 5)
    columns = columns[np.argsort(columns[:, 0])]
    outliers = np.zeros(len(points), dtype=bool)
    for budget, parabola in zip(budgets, found, strict=True):
        outliers[budget.rows[parabola.rows[parabola.weights == 0]]] = True
    log_flops, log_N, error, log_loss, loss_error = columns.T
    bend, bend_error = _shared_bend(found, noise)
    return Minima(log_flops, log_N, error, log_loss, loss_error, bend, bend_error, outliers)


def _budgets(points: Points) -> list[_Budget]:
    found = []
    for nominal in points.budgets:
        rows = np.flatnonzero(points.budget == nominal)
        x, y = np.log(points.N[rows]), np.log(points.L[rows])
        if len(np.unique(x)) >= LEAST_SIZES:
            found.append(_Budget(rows, x, y, np.log(points.C[rows]), float(x[np.argmin(y)])))
    return found


def _parabola(budget: _Budget, bend: float, noise: float) -> _Parabola:
    """Least squares in the window, drawn towards a bend where one is known, with Huber's weights."""
    rows = budget.window()
    u, y = budget.x[rows] - budget.centre, budget.y[rows]
    columns = np.stack([np.ones_like(u), u, u**2 / 2], axis=1)
    is_known = math.isfinite(bend)
    pull = np.diag([0, 0, (max(noise, LEAST_NOISE) / (BEND_WIDTH * bend)) ** 2 if is_known else 0])
    target = pull @ [0, 0, bend if is_known else 0]
    weights = np.ones_like(u)
    for _ in range(2 if is_known else 1):
        own = columns.T @ (weights[:, None] * columns) + 1e-12 * np.eye(3)
        precision = own + pull
        coefficients = np.linalg.solve(precision, columns.T @ (weights * y) + target)
        residual = y - columns @ coefficients
        if is_known:
            bisquare = np.maximum(1 - (residual / (ROBUST * max(noise, LEAST_NOISE))) ** 2, 0) ** 2
            weights = bisquare if np.sum(bisquare > 0) >= LEAST_KEPT else np.ones_like(u)
    freedom = max(len(u) - float(np.trace(np.linalg.solve(precision, own))), 0.0)
    alone = (
        float(np.linalg.solve(own, columns.T @ (weights * y))[2]),
        float(np.linalg.inv(own)[2, 2]),
    )
    return _Parabola(coefficients, precision, rows, weights, residual, freedom, alone)


def _noise(found: Sequence[_Parabola]) -> float:
    """Of log loss, from all budgets."""
    freedom = sum(each.freedom for each in found)
    if freedom <= 0:
        return 0.0
    away = np.concatenate([np.abs(each.residual) for each in found])
    usual = 1.4826 * float(np.median(away)) * math.sqrt(len(away) / freedom)
    squares = sum(each.squares for each in found)
    return min(math.sqrt(squares / freedom), MOST_OVER_USUAL * usual)


def _shared_bend(found: Sequence[_Parabola], noise: float) -> tuple[float, float]:
    """Middle bend of the budgets, and the standard error of its logarithm."""
    bends = [float(each.coefficients[2]) for each in found if each.coefficients[2] > 0]
    bend = max(float(np.median(bends)) if bends else USUAL_BEND, LEAST_BEND)
    precision = sum(1 / (noise**2 * each.alone[1] + (BEND_WIDTH * bend) ** 2) for each in found)
    return bend, 1 / math.sqrt(precision) / bend if precision else math.inf


def _recentred(budget: _Budget, parabola: _Parabola) -> _Budget:
    if parabola.coefficients[2] <= 0:
        return budget
    step = float(np.clip(parabola.step, -LARGEST_STEP, LARGEST_STEP))
    return replace(budget, centre=budget.centre + step)


def _minimum(budget: _Budget, parabola: _Parabola, noise: float) -> tuple[float, ...] | None:
    """Log FLOPs, log N, its error, log loss and its error; None where the budget shows no minimum.

    The budget's centre is the minimum already.
    """
    v, slope, bend = parabola.coefficients
    own, unit = parabola.alone
    if bend <= 0 or own < noise * math.sqrt(unit):
        return None
    outside = max(budget.x.min() - budget.centre, budget.centre - budget.x.max(), 0.0)
    variance = (parabola.squares + NOISE_RUNS * noise**2) / (parabola.freedom + NOISE_RUNS)
    covariance = variance * np.linalg.inv(parabola.precision)
    step = parabola.step
    of_x, of_loss = np.array([0, -1 / bend, slope / bend**2]), np.array([1, step, step**2 / 2])
    doubt = (OUTSIDE_DOUBT * (outside + OUTSIDE_STEP)) if outside > 0 else LEAST_ERROR
    error = math.hypot(math.sqrt(of_x @ covariance @ of_x), doubt)
    if outside > OUTSIDE or error > MOST_ERROR:
        return None
    loss_error = math.hypot(math.sqrt(of_loss @ covariance @ of_loss), LEAST_LOSS_ERROR)
    log_flops = float(budget.log_flops[budget.window()].mean())
    lucky = bend * of_x @ covariance @ of_x / 2  # noise moves the minimum, always to lower losses
    return log_flops, budget.centre, error, v + slope * step / 2 + lucky, loss_error
