"""Whether a loss is a mean over the targets of its batch, or adds up over them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.user_code.data import num_examples_in, sliced
from isoflop.user_code.isolation import isolated
from isoflop.user_code.randomness import reseed

__all__ = ["NUM_COMPARED", "sums_among"]

NUM_COMPARED = 8
"""Examples of the batch that is taken apart."""
MOST_DRAWS = 16
TOLERANCE = 0.1
"""In ratio, for measures that draw random numbers. A contrastive loss, which depends on the size of its batch, differs
from a sum by 13 % or more in either its halves or its quarters, at any temperature."""


def sums_among(
    measures: Callable[[Any], Sequence[float]], batch: Any, most_draws: int = MOST_DRAWS
) -> list[bool]:
    """Which measures of a batch add up over its examples: twice its halves' mean and four times its quarters'.

    most_draws: times that they may be taken of each part, where random numbers are drawn. A batch of fewer than four
    examples, or one that cannot be taken apart, tells nothing.
    """
    num_examples = num_examples_in(batch)
    if num_examples < 4:
        return []
    batch = sliced(batch, slice(0, NUM_COMPARED), num_examples)
    size = min(NUM_COMPARED, num_examples) // 4 * 4
    batch = sliced(batch, slice(0, size), min(NUM_COMPARED, num_examples))
    try:
        by_parts = np.array(
            [_mean_over_parts(measures, batch, size, parts, most_draws) for parts in (1, 2, 4)]
        )
    except Exception:  # what the whole batch does wrong has been said by now
        return []
    with np.errstate(all="ignore"):
        ratios = by_parts[0] / by_parts[1:]
    return [
        bool(abs(half / 2 - 1) < TOLERANCE and abs(quarter / 4 - 1) < TOLERANCE)
        for half, quarter in ratios.T
    ]


def _mean_over_parts(
    measures: Callable[[Any], Sequence[float]],
    batch: Any,
    size: int,
    num_parts: int,
    most_draws: int,
) -> NDArray[np.float64]:
    """Mean of the measures over the parts of a batch, and over draws until they are seen to draw nothing."""
    found: list[NDArray[np.float64]] = []
    with isolated(0):
        for draw in range(max(1, min(most_draws, MOST_DRAWS))):
            values = []
            for part in range(num_parts):
                reseed(draw, part)
                first = part * size // num_parts
                values.append(
                    measures(sliced(batch, slice(first, first + size // num_parts), size))
                )
            found.append(np.mean(np.array(values, dtype=float), axis=0))
            if draw == 1 and np.array_equal(found[0], found[1]):
                break
    return np.asarray(np.mean(found, axis=0))
