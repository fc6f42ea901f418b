"""The minimum of each budget, from parabolas with a shared bend and shared noise.

x log N, L loss, u = x minus the budget's centre. Within WINDOW of a budget's minimum the log loss
is a parabola v + slope u + bend u^2 / 2 (Approach 2; Hoffmann et al. 2022, section 3.2). Bends and
noise differ little within a sweep, so those of each budget are shrunk towards those of all. Even a
budget of four sizes then has a minimum with a realistic standard error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.robust import robust_deviation
from isoflop.fitting.ties import lowest
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["Minima", "find_minima"]

WINDOW = math.log(4)
"""Log N on either side. With 3.3 or 5 instead of 4 the held-out score is 3 and 8 % worse."""
ROUNDING = 1e-9
"""Share of a window by which distances may differ and count as equal."""
LEAST_SIZES = 3
FEWEST = 5
"""Least number of runs in a window, where the budget has as many."""
BEND_WIDTH = 0.2
"""Standard deviation of a budget's bend around the median bend of its sweep, as a share of it."""
USUAL_BEND, LEAST_BEND = 0.02, 0.002
"""Bend where no budget shows one, and the least bend."""
NOISE_RUNS = 3.0
"""Degrees of freedom of the sweep's noise in the noise of each budget."""
LEAST_NOISE = 1e-6
MOST_OVER_USUAL = 2.0
"""Largest ratio of the noise to its robust estimate, so that a few bad runs do not hide each
other."""
LARGEST_STEP = 0.7
"""Most log N by which a pass moves a budget's centre."""
PASSES, SETTLED = 20, 0.05
"""Most passes, and the change of log N and of the noise below which they end: at first, bad runs in
several budgets hide each other."""
ROBUST = 6.0
"""Standard deviations beyond which a run does not count; nearer ones have the weights of Tukey's
bisquare (Beaton and Tukey 1974)."""
LEAST_KEPT = 2
"""Runs that a parabola with the shared bend needs. Where fewer are near it, the noise is larger
than estimated, and all count."""
OUTSIDE = 0.7
"""Log N by which a minimum may lie outside the budget's sizes and still count, with more doubt."""
OUTSIDE_DOUBT, OUTSIDE_STEP = 0.5, 0.1
"""Standard error of such a minimum, as a share of its distance plus this step."""
LEAST_ERROR, LEAST_LOSS_ERROR = 0.01, 0.0005
"""Least standard errors of log N and log loss: no recipe is repeatable to less."""
MOST_ERROR = 1.0
"""Standard error of log N above which a minimum does not count."""


@dataclass(frozen=True, eq=False)
class Minima:
    """Minima of the budgets; fields of shape (m,), by increasing compute."""

    log_flops: Array
    """Mean log FLOPs of the runs in the window."""
    log_N: Array
    error: Array
    """Standard error of log N."""
    log_loss: Array
    loss_error: Array
    bend: float
    """Second derivative of the log loss in log N, the median of the sweep."""
    bend_error: float
    """Standard error of the log of the bend."""
    outliers: NDArray[np.bool_]
    """Which of all runs lie in a window but do not count."""

    def __len__(self) -> int:
        return len(self.log_N)


@dataclass(frozen=True, eq=False)
class _Budget:
    """The runs of one budget."""

    rows: NDArray[np.intp]
    """Indices into the points."""
    x: Array
    """Log N."""
    y: Array
    """Log loss."""
    log_flops: Array
    centre: float

    def window(self) -> NDArray[np.intp]:
        """Indices of the runs nearest to the centre; of equally near ones all."""
        away = np.abs(self.x - self.centre)
        reach = max(WINDOW, float(np.sort(away)[:FEWEST][-1]))
        return np.flatnonzero(away <= reach * (1 + ROUNDING))


@dataclass(frozen=True, eq=False)
class _Parabola:
    """The parabola of one budget."""

    coefficients: Array
    """v, slope, bend."""
    precision: Array
    """Precision of the coefficients in units of the noise, shape (3, 3)."""
    rows: NDArray[np.intp]
    """Indices into the budget's runs."""
    weights: Array
    residual: Array
    """Unweighted residuals."""
    freedom: float
    """Degrees of freedom that are left."""
    alone: tuple[float, float]
    """Bend from this budget alone, and its variance in units of the noise."""

    @property
    def squares(self) -> float:
        """Weighted sum of squares."""
        return float(self.weights @ self.residual**2)

    @property
    def step(self) -> float:
        """Log N of the minimum minus the centre."""
        return float(-self.coefficients[1] / self.coefficients[2])


def find_minima(points: Points) -> Minima:
    """The minima of the budgets that have one; runs without a budget are ignored."""
    budgets, parabolas, noise = _fitted(_budgets(points))
    pairs = [*zip(budgets, parabolas, strict=True)]
    rows = [_minimum(*pair, noise) for pair in pairs]
    columns = np.array([row for row in rows if row is not None]).reshape(-1, 5)
    log_flops, log_N, error, log_loss, loss_error = columns[np.argsort(columns[:, 0])].T
    outliers = np.zeros(len(points), dtype=bool)
    for budget, parabola in pairs:
        outliers[budget.rows[parabola.rows[parabola.weights == 0]]] = True
    bend, bend_error = _shared_bend(parabolas, noise)
    return Minima(log_flops, log_N, error, log_loss, loss_error, bend, bend_error, outliers)


def _fitted(budgets: list[_Budget]) -> tuple[list[_Budget], list[_Parabola], float]:
    """Budgets centred on their minima, their parabolas, and the noise of log loss."""
    bend, noise = math.nan, math.nan
    parabolas: list[_Parabola] = []
    for _ in range(PASSES):
        parabolas = [_parabola(budget, bend, noise) for budget in budgets]
        before, noise = noise, _noise(parabolas)
        bend = _shared_bend(parabolas, noise)[0]
        moved = max((abs(each.step) for each in parabolas if each.coefficients[2] > 0), default=0.0)
        budgets = [_recentred(*pair) for pair in zip(budgets, parabolas, strict=True)]
        if moved < SETTLED and abs(before - noise) < SETTLED * noise:
            break
    return budgets, parabolas, noise


def _budgets(points: Points) -> list[_Budget]:
    """The budgets with enough sizes."""
    budgets = []
    for nominal in points.budgets:
        rows = np.flatnonzero(points.budget == nominal)
        x, y = np.log(points.N[rows]), np.log(points.L[rows])
        if len(np.unique(x)) >= LEAST_SIZES:
            budgets.append(_Budget(rows, x, y, np.log(points.C[rows]), float(x[lowest(y, x)])))
    return budgets


def _parabola(budget: _Budget, bend: float, noise: float) -> _Parabola:
    """Least squares in the window, shrunk towards a known bend, with the bisquare's weights.

    NaN for an unknown bend and noise.
    """
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


def _noise(parabolas: Sequence[_Parabola]) -> float:
    """Standard deviation of log loss around all parabolas."""
    freedom = sum(each.freedom for each in parabolas)
    if freedom <= 0:
        return 0.0
    residual = np.concatenate([each.residual for each in parabolas])
    usual = robust_deviation(residual) * math.sqrt(len(residual) / freedom)
    squares = sum(each.squares for each in parabolas)
    return min(math.sqrt(squares / freedom), MOST_OVER_USUAL * usual)


def _shared_bend(parabolas: Sequence[_Parabola], noise: float) -> tuple[float, float]:
    """Median bend of the budgets, and the standard error of its logarithm."""
    bends = [float(each.coefficients[2]) for each in parabolas if each.coefficients[2] > 0]
    bend = max(float(np.median(bends)) if bends else USUAL_BEND, LEAST_BEND)
    precision = sum(1 / (noise**2 * each.alone[1] + (BEND_WIDTH * bend) ** 2) for each in parabolas)
    return bend, 1 / math.sqrt(precision) / bend if precision else math.inf


def _recentred(budget: _Budget, parabola: _Parabola) -> _Budget:
    if parabola.coefficients[2] <= 0:
        return budget
    step = float(np.clip(parabola.step, -LARGEST_STEP, LARGEST_STEP))
    return replace(budget, centre=budget.centre + step)


def _minimum(budget: _Budget, parabola: _Parabola, noise: float) -> tuple[float, ...] | None:
    """Log FLOPs, log N, its error, log loss and its error; None where the budget has no minimum.

    The budget must be centred on its minimum.
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
    # Noise moves the minimum, and always to a lower loss.
    bias = bend * of_x @ covariance @ of_x / 2
    return log_flops, budget.centre, error, v + slope * step / 2 + bias, loss_error
