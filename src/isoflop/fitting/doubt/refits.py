"""Checks that refit: another approach, leave-one-out, larger budgets only.

Neighbouring residuals are compared as well. N params, C FLOPs.
"""

import math
from collections.abc import Iterator

import numpy as np

from isoflop.display.format import format_count, format_flops, format_percent, format_replacement
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.robust import robust_deviation
from isoflop.fitting.screening.screen import describe
from isoflop.fitting.uncertainty import HALF_90, bootstrap_weights, leave_one_out_weights
from isoflop.laws.base import Array, Law, Surface
from isoflop.laws.cost import cost_for
from isoflop.laws.other_laws import losses_of
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["disagreements"]

RESAMPLES = 100
LEAST_SHIFT = math.log(1.1)
"""Log size by which an answer must move for a note."""
FEW_RUNS, FEW_BUDGETS = 20, 5
STRONG = 3.5
"""Standard errors from which on a correlation of neighbours counts as misfit."""
MOST_CONFIGURATIONS = 400
"""Configurations up to which each is left out in turn."""


def disagreements(points: Points, solved: Solved, resamples: Law) -> Iterator[Note]:
    """Notes where a refit contradicts a law, or where neighbouring residuals are alike."""
    C = float(points.C.max())
    log_N = _log_sizes(solved.law, C, points)
    spread = _spread(_log_sizes(resamples, C, points))
    yield from _other_approach(points, solved, C, float(log_N), spread)
    if solved.refit is not None and isinstance(solved.law, Surface):
        yield from _one_run(points, solved, C, float(log_N), spread)
        yield from _larger_budgets(points, solved, C, float(log_N))
        yield from _neighbours(points, solved.law)


def _log_sizes(law: Law, C: float, points: Points) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.log(law.optimum(C, cost_for(law, points.runs))[0]))


def _spread(values: Array) -> float:
    """Standard deviation of the finite values."""
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) else math.inf


def _other_approach(
    points: Points, solved: Solved, C: float, log_N: float, spread: float
) -> Iterator[Note]:
    """Comparison of a surface with Approach 2, where enough budgets have a minimum."""
    if not isinstance(solved.law, Surface):
        return
    try:
        other = IsoFLOP().solve(points)
    except DataError:
        return
    assert other.refit is not None
    weights = bootstrap_weights(points, other.num_parameters, RESAMPLES, np.random.default_rng(0))
    other_log_N = math.log(other.law.optimum(C)[0])
    other_spread = _spread(_log_sizes(other.refit(weights), C, points))
    away = abs(other_log_N - log_N)
    if away > max(HALF_90 * math.hypot(spread, other_spread), LEAST_SHIFT):
        text = (
            f"Approach 2 puts the best size at {format_flops(C)} FLOPs at "
            f"{format_count(math.exp(other_log_N))}, this law at {format_count(math.exp(log_N))}: "
            f"they differ by more than their intervals."
        )
        yield Note("approaches-disagree", text)


def _one_run(
    points: Points, solved: Solved, C: float, log_N: float, spread: float
) -> Iterator[Note]:
    """The configuration without which the answer moves most."""
    assert solved.refit is not None
    weights = leave_one_out_weights(points)
    if len(weights) > MOST_CONFIGURATIONS:
        return
    shift = _log_sizes(solved.refit(weights), C, points) - log_N
    worst = int(np.nanargmax(np.abs(shift))) if np.isfinite(shift).any() else 0
    if abs(shift[worst]) > max(spread, LEAST_SHIFT):
        run = points.runs[int(np.flatnonzero(points.cluster == worst)[0])]
        text = (
            f"One run moves the answer by itself: without {describe(run)} the best size at "
            f"{format_flops(C)} FLOPs would be {_replacement(log_N, shift[worst])}."
        )
        yield Note("one-run-decides", text)


def _larger_budgets(points: Points, solved: Solved, C: float, log_N: float) -> Iterator[Note]:
    """Whether the law of the larger budgets differs from that of all by more than resamples do."""
    assert solved.refit is not None
    if len(points.budgets) < FEW_BUDGETS:
        return
    cut = points.budgets[len(points.budgets) // 3]
    kept = ~(points.budget < cut)
    weights = bootstrap_weights(points, solved.num_parameters, RESAMPLES, np.random.default_rng(1))
    both = _log_sizes(solved.refit(np.vstack([kept[None], weights * kept])), C, points)
    shift = both[0] - log_N
    paired = both[1:] - _log_sizes(solved.refit(weights), C, points)
    if abs(shift) > max(STRONG * _spread(paired), LEAST_SHIFT):
        text = (
            f"The law changes with scale: from the budgets of {format_flops(float(cut))} FLOPs and "
            f"above alone the best size at {format_flops(C)} would be {_replacement(log_N, shift)}."
        )
        yield Note("changes-with-scale", text)


def _replacement(log_N: float, shift: float) -> str:
    return format_replacement(math.exp(log_N + shift), math.exp(log_N))


def _neighbours(points: Points, law: Surface) -> Iterator[Note]:
    """Correlation of each residual with that of the nearest other configuration.

    It is near 0 under noise alone.
    """
    if len(points) < FEW_RUNS:
        return
    residual = np.log(losses_of(law, points) / points.L)
    spread = robust_deviation(residual) + 1e-300
    z = np.clip(residual / spread, -3, 3)
    logs = np.stack([np.log(points.N), np.log(points.D)])
    gap = np.sum((logs[:, :, None] - logs[:, None]) ** 2, axis=0)
    gap[points.cluster[:, None] == points.cluster] = np.inf
    correlation = float(np.mean(z * z[gap.argmin(axis=1)]) / np.mean(z**2))
    independent = int(points.cluster.max()) + 1
    if spread > 1e-6 and correlation > STRONG / math.sqrt(independent):
        misfit = format_percent(spread * math.sqrt(correlation))
        text = (
            f"Neighbouring runs miss the law in the same direction "
            f"(correlation {correlation:.2f}): it is off by about {misfit} of the loss "
            f"beyond noise, which intervals from resampled runs do not cover."
        )
        yield Note("correlated-residuals", text)
