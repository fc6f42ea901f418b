"""Proper scores of forecasts, and their means with families of sweeps alike.

A proper score is lowest for who says what is believed: too narrow and too wide both cost.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import Array

__all__ = ["Score", "average", "crps", "interval_score", "middle", "score"]

LEVEL = 0.9


@dataclass(frozen=True)
class Score:
    """One forecast, by draws, of a number that was then measured."""

    interval: float
    """Interval score at 90 %."""
    crps: float
    """Continuous ranked probability score."""
    rank: float
    """Share of the draws below the truth; uniform over cases where a method is calibrated."""
    half_width: float
    """Of the 90 % interval."""
    error: float
    """Median of the draws minus the truth."""

    def is_covered(self, level: float = LEVEL) -> bool:
        """Whether the central interval of that level holds the truth."""
        return abs(self.rank - 0.5) <= level / 2


def score(draws: Array, truth: float) -> Score:
    """What a forecast scores; draws that are not numbers are left out."""
    draws = np.sort(draws[np.isfinite(draws)])
    low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return Score(
        interval=interval_score(low, high, truth),
        crps=crps(draws, truth),
        rank=float(np.mean(draws < truth)),
        half_width=float(high - low) / 2,
        error=float(middle) - truth,
    )


def interval_score(low: float, high: float, truth: float, level: float = LEVEL) -> float:
    """Width + 2 / (1 - level) times the miss (Gneiting and Raftery 2007, eq. 43)."""
    miss = max(low - truth, truth - high, 0.0)
    return float(high - low + 2 / (1 - level) * miss)


def crps(draws: Array, truth: float) -> float:
    """E|X - truth| - E|X - X'| / 2 over rising draws (Gneiting and Raftery 2007, eq. 21)."""
    n = len(draws)
    order = 2 * np.arange(1, n + 1) - n - 1
    return float(np.mean(np.abs(draws - truth)) - np.sum(order * draws) / n**2)


def average(values: Sequence[float], families: Sequence[str]) -> float:
    """Mean over families of the means within each."""
    return float(np.average(np.asarray(values, dtype=float), weights=_weights(families)))


def middle(values: Sequence[float], families: Sequence[str]) -> float:
    """Median, each family with the same weight."""
    ordered = np.argsort(values)
    weights = _weights(families)[ordered]
    shares = np.cumsum(weights) - weights / 2
    return float(np.interp(0.5, shares / weights.sum(), np.asarray(values, dtype=float)[ordered]))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(float(np.mean(np.log(values))))


def _weights(families: Sequence[str]) -> Array:
    counts = Counter(families)
    return np.array([1 / counts[family] for family in families])
