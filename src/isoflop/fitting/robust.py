"""A standard deviation that outliers hardly change."""

import numpy as np

from isoflop.laws.base import Array

__all__ = ["robust_deviation"]

NORMAL_RATIO = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def robust_deviation(residuals: Array) -> float:
    """Standard deviation of normal residuals around 0, from their median absolute value."""
    return NORMAL_RATIO * float(np.median(np.abs(residuals)))
