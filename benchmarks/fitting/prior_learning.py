"""Learning the numbers of a Prior: the lowest interval scores over windows of public sweeps.

For the path of params and for the loss apart, the mean over cells (budgets seen x distance) of the
log of the mean interval score, families alike in each, plus a penalty where a cell's 90 % intervals
hold less than .87. Searched by Nelder and Mead from round numbers, so that no start knows a sweep.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from prior_cases import LEVEL, Truth, Window
from scipy.optimize import minimize
from scipy.special import ndtri
from scores import average, interval_score

from isoflop.fitting.bayesian.path import _log_loss, loss_lines
from isoflop.fitting.bayesian.prior import Prior, Share
from isoflop.fitting.bayesian.regression import regress
from isoflop.laws.base import Array

LEAST_COVERED, PENALTY = 0.87, 0.5
PULL = 0.01
"""On the squared distance from the start in steps, so that numbers nothing depends on stay put."""
LEAST_CASES = 4
NODES = ndtri((np.arange(15) + 0.5) / 15)
"""Normal deviations that stand for each setting's distribution."""
SPREAD = (-1.5, -0.5, 0.5, 1.5)
"""Log deviations at which the standard deviation of a slope is represented."""


@dataclass(frozen=True)
class Judged:
    """One forecast of a prior."""

    family: str
    cell: tuple[int, tuple[float, float]]
    is_open: bool
    interval: float
    """Interval score."""
    is_covered: bool
    baseline: float


Forecasts = Callable[[Window, Prior], Iterable[tuple[Truth, float, float, float]]]
"""For each later budget its truth, the ends of the 90 % interval, and what was measured."""


def of_params(window: Window, prior: Prior) -> Iterable[tuple[Truth, float, float, float]]:
    """Intervals of log N."""
    given, middle = prior.of_params, window.log_N.mean()
    at = np.array([truth.at for truth in window.truths])
    scatter = given.scatter[:, None, None] ** 2 * np.eye(len(window.t))
    found = regress(given, window.t, window.log_N - middle, window.covariance + scatter, at)
    own = given.scatter[found.kept][:, None] ** 2
    for number, truth in enumerate(window.truths):
        variance = found.covariance[:, number, number, None] + own
        values = found.mean[:, number, None] + np.sqrt(variance) * NODES
        yield truth, *_ends(values + middle, found.weights), truth.log_N


def of_loss(window: Window, prior: Prior) -> Iterable[tuple[Truth, float, float, float]]:
    """Intervals of log loss."""
    level, num_params = window.log_loss[-1], math.exp(window.log_N[-1])
    at = np.array([truth.at for truth in window.truths])
    log_loss = window.log_loss - level
    given, found = loss_lines(prior, num_params, window.t, log_loss, window.loss_covariance, at)
    floor = given.floor[found.kept]
    for number, truth in enumerate(window.truths):
        deviation = np.sqrt(np.maximum(found.covariance[:, number, number], 0))
        line = found.mean[:, number, None] + deviation[:, None] * NODES
        yield truth, *_ends(_log_loss(line, floor) + level, found.weights), truth.log_loss


def _ends(values: Array, weights: Array) -> tuple[float, float]:
    """Quantiles of a mixture; one row of values for each weight."""
    flat, each = values.ravel(), np.repeat(weights, values.shape[1])
    order = np.argsort(flat)
    shares = np.cumsum(each[order]) - each[order] / 2
    low, high = np.interp(np.array(LEVEL) * each.sum(), shares, flat[order])
    return float(low), float(high)


def judge(windows: Iterable[Window], prior: Prior, forecasts: Forecasts) -> list[Judged]:
    return [
        Judged(
            family=window.family,
            cell=(window.num_seen, truth.band),
            is_open=window.is_open,
            interval=interval_score(low, high, measured),
            is_covered=low <= measured <= high,
            baseline=truth.baseline,
        )
        for window in windows
        for truth, low, high, measured in forecasts(window, prior)
    ]


def cells(found: Iterable[Judged]) -> list[list[Judged]]:
    """Those with enough cases."""
    groups: dict[object, list[Judged]] = defaultdict(list)
    for one in found:
        groups[one.cell].append(one)
    return [groups[cell] for cell in sorted(groups) if len(groups[cell]) >= LEAST_CASES]


def mean(part: Sequence[Judged], name: str) -> float:
    return average([getattr(one, name) for one in part], [one.family for one in part])


def price(windows: Sequence[Window], prior: Prior, forecasts: Forecasts) -> float:
    """What learning minimises."""
    parts = cells(judge(windows, prior, forecasts))
    missing = [max(LEAST_COVERED - mean(part, "is_covered"), 0) for part in parts]
    scores = [math.log(mean(part, "interval")) for part in parts]
    return float(np.mean(scores)) + PENALTY * float(np.mean(missing))


@dataclass(frozen=True)
class Search:
    """The numbers of one of the two paths: round starts, steps, and what they make of a Prior."""

    start: tuple[float, ...]
    steps: tuple[float, ...]
    forecasts: Forecasts
    applied: Callable[[Prior, Array], Prior]
    evaluations: int


def learn(windows: Sequence[Window], search: Search, base: Prior) -> Prior:
    """The prior whose forecasts cost least."""
    start, steps = np.array(search.start), np.array(search.steps)

    def cost(away: Array) -> float:
        prior = search.applied(base, start + steps * away)
        return price(windows, prior, search.forecasts) + PULL * float(np.mean(away**2))

    n = len(start)
    simplex = np.vstack([np.zeros(n), np.eye(n)])
    options = {"maxfev": search.evaluations, "initial_simplex": simplex, "adaptive": True}
    best = minimize(cost, np.zeros(n), method="Nelder-Mead", options=options).x
    return search.applied(base, start + steps * best)


def _slopes(mean: float, median: float, spread: float) -> tuple[Share, ...]:
    """A slope whose standard deviation is log-normal."""
    weights = np.exp(-0.5 * np.array(SPREAD) ** 2)
    return tuple(
        (float(weight), float(mean), float(median * math.exp(spread * node)))
        for weight, node in zip(weights / weights.sum(), SPREAD, strict=True)
    )


def _with_params(base: Prior, numbers: Array) -> Prior:
    deviation, spread, drift, scatter, scatter_spread = np.exp(numbers).tolist()
    return dataclasses.replace(
        base,
        slope=_slopes(0.5, deviation, spread),
        slope_drift=drift,
        scatter=(scatter, scatter_spread),
    )


def _with_loss(base: Prior, numbers: Array) -> Prior:
    floor = float(numbers[0])
    width, decay, deviation, spread, reach, scatter, scatter_spread = np.exp(numbers[1:]).tolist()
    return dataclasses.replace(
        base,
        floor=((0.9, floor, width), WIDE_FLOOR),
        decay=_slopes(decay, deviation, spread),
        decay_reach=reach,
        loss_scatter=(scatter, scatter_spread),
    )


WIDE_FLOOR = (0.1, 0.5, 0.4)
"""A tenth of sweeps may have any floor."""
PARAMS = Search(
    start=tuple(np.log([0.1, 0.5, 0.05, 0.02, 1])),
    steps=(0.3, 0.4, 0.5, 0.6, 0.3),
    forecasts=of_params,
    applied=_with_params,
    evaluations=250,
)
"""Deviation of the slope, its spread, drift, scatter, its spread."""
LOSS = Search(
    start=(0.6, *np.log([0.1, 0.2, 0.1, 0.5, 30, 0.001, 0.7])),
    steps=(0.05, 0.4, 0.12, 0.3, 0.4, 0.6, 0.4, 0.3),
    forecasts=of_loss,
    applied=_with_loss,
    evaluations=300,
)
"""Floor, its deviation; decay, its deviation and spread; reach; scatter of the loss, its spread."""
