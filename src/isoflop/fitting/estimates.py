"""Numbers with intervals, from a value and its draws."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import Number

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval at the fit's level."""

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return float(self.value)


def estimate(value: Number, draws: Number, level: float) -> Estimate:
    """The value with the quantiles of its draws, widened to hold the value.

    Draws that are NaN are left out.
    """
    known = np.asarray(draws, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return Estimate(float(value), math.nan, math.nan)
    # Order statistics, not interpolated: an infinite draw must not make its neighbours NaN.
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))
