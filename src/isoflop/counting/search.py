"""Search for the largest integer at which a rising function is at most a value, in few calls.

Each call builds a model.
"""

import math
from bisect import bisect_left
from collections.abc import Callable

__all__ = ["largest_below"]


def largest_below(params: Callable[[int], float], most: float) -> int:
    """Largest k with params(k) at most `most`, 1 if there is none; the first of equal params.

    params: never falls; infinite where there is no model. The search ends at two such k in a row.
    """
    low, high = 1, 2
    # One size that does not build is not the end.
    while params(high) <= most or params(high + 1) <= most:
        low, high = high + (params(high) > most), 2 * high
        if params(high) <= params(low):  # it stops growing
            return _first_of(params, params(low), low)
    while high - low > 1:
        middle = _where_power_law_meets(most, low, high, params)
        low, high = (middle, high) if params(middle) <= most else (low, middle)
    return low


def _first_of(function: Callable[[int], float], value: float, last: int) -> int:
    """Smallest k up to `last` for which a function that never falls has a value."""
    return bisect_left(range(1, last), value, key=function) + 1


def _where_power_law_meets(
    value: float, low: int, high: int, function: Callable[[int], float]
) -> int:
    """An integer strictly between low and high, near where the power law has the value."""
    at_low, at_high = function(low), function(high)
    known = at_low < at_high < math.inf
    share = math.log(value / at_low) / math.log(at_high / at_low) if known else 0.5
    return min(max(round(low * float((high / low) ** share)), low + 1), high - 1)
