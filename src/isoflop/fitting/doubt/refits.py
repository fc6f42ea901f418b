"""Reasons to doubt that come from asking again: another approach, other runs, neighbouring residuals.

N params, C FLOPs.
"""

import math
from collections.abc import Iterator

import numpy as np

from isoflop.display.format import format_count, format_flops, format_percent, format_replacement
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.screening.screen import describe
from isoflop.fitting.uncertainty import bootstrap_weights, leave_one_out_weights
from isoflop.laws.base import Array, Law, Surface
from isoflop.laws.cost import cost_for
from isoflop.laws.points import Points

__all__ = ["disagreements"]

RESAMPLES = 100
HALF_90 = 1.645
"""Half a 90 % interval in standard deviations."""
WORTH_TELLING = math.log(1.1)
"""Log size by which an answer must move before it is told."""
FEW_RUNS, FEW_BUDGETS = 20, 5
STRONG = 3.5
"""Standard errors from which a correlation of neighbours is called misfit."""


def disagreements(points: Points, solved: Solved, resamples: Law) -> Iterator[str]:
    """What another approach, all runs but one, the larger budgets and neighbouring residuals say against a law."""
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
    """Standard deviation of the finite ones."""
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) else math.inf


def _other_approach(
    points: Points, solved: Solved, C: float, log_N: float, spread: float
) -> Iterator[str]:
    """Approach 2 beside a surface, where the budgets have minima enough."""
    if not isinstance(solved.law, Surface):
        return
    try:
        other = IsoFLOP().solve(points)
    except DataError:
        return
    assert other.refit is not None
    weights = bootstrap_weights(points, other.num_parameters, RESAMPLES, np.random.default_rng(0))
    theirs, their_spread = (
        math.log(other.law.optimum(C)[0]),
        _spread(_log_sizes(other.refit(weights), C, points)),
    )
    away = abs(theirs - log_N)
    if away > max(HALF_90 * math.hypot(spread, their_spread), WORTH_TELLING):
        yield (
            f"Approach 2 puts the best size at {format_flops(C)} FLOPs at {format_count(math.exp(theirs))}, this law at "
            f"{format_count(math.exp(log_N))}: they differ by more than their intervals."
        )


def _one_run(
    points: Points, solved: Solved, C: float, log_N: float, spread: float
) -> Iterator[str]:
    """The configuration without which the answer moves most."""
    assert solved.refit is not None
    weights = leave_one_out_weights(points)
    if len(weights) > 400:
        return
    shift = _log_sizes(solved.refit(weights), C, points) - log_N
    worst = int(np.nanargmax(np.abs(shift))) if np.isfinite(shift).any() else 0
    if abs(shift[worst]) > max(spread, WORTH_TELLING):
        run = points.runs[int(np.flatnonzero(points.cluster == worst)[0])]
        yield (
            f"One run moves the answer by itself: without {describe(run)} the best size at {format_flops(C)} FLOPs "
            f"would be {_instead(log_N, shift[worst])}."
        )


def _larger_budgets(points: Points, solved: Solved, C: float, log_N: float) -> Iterator[str]:
    """Whether the law of the larger budgets differs from that of all by more than resamples say it may."""
    assert solved.refit is not None
    if len(points.budgets) < FEW_BUDGETS:
        return
    cut = points.budgets[len(points.budgets) // 3]
    kept = ~(points.budget < cut)
    weights = bootstrap_weights(points, solved.num_parameters, RESAMPLES, np.random.default_rng(1))
    both = _log_sizes(solved.refit(np.vstack([kept[None], weights * kept])), C, points)
    shift = both[0] - log_N
    paired = both[1:] - _log_sizes(solved.refit(weights), C, points)
    if abs(shift) > max(STRONG * _spread(paired), WORTH_TELLING):
        yield (
            f"The law changes with scale: from the budgets of {format_flops(float(cut))} FLOPs and above alone the best "
            f"size at {format_flops(C)} would be {_instead(log_N, shift)}."
        )


def _instead(log_N: float, shift: float) -> str:
    return format_replacement(math.exp(log_N + shift), math.exp(log_N))


def _neighbours(points: Points, law: Surface) -> Iterator[str]:
    """Correlation of each residual with that of the nearest other configuration, near 0 under noise alone."""
    if len(points) < FEW_RUNS:
        return
    residual = np.log(law.loss(points.N, points.D) / points.L)
    spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-300
    z = np.clip(residual / spread, -3, 3)
    place = np.stack([np.log(points.N), np.log(points.D)])
    gap = np.sum((place[:, :, None] - place[:, None]) ** 2, axis=0)
    gap[points.cluster[:, None] == points.cluster] = np.inf
    correlation = float(np.mean(z * z[gap.argmin(axis=1)]) / np.mean(z**2))
    independent = int(points.cluster.max()) + 1
    if spread > 1e-6 and correlation > STRONG / math.sqrt(independent):
        yield (
            f"Neighbouring runs miss the law in the same direction (correlation {correlation:.2f}): it is off by about "
            f"{format_percent(spread * math.sqrt(correlation))} of the loss beyond noise, which intervals from resampled "
            f"runs do not cover."
        )
