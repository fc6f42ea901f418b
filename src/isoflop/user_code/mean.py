"""Test whether a loss is a mean over the targets of its batch or a sum over them."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from isoflop.user_code.data import num_examples_in, sliced
from isoflop.user_code.isolation import isolated
from isoflop.user_code.randomness import reseed

__all__ = ["NUM_COMPARED", "sums_among"]

NUM_COMPARED = 8
"""Examples of the batch that is split."""
MOST_DRAWS = 16
TOLERANCE = 0.1
"""In ratio, for measures that draw random numbers. A contrastive loss, which depends on the size of
its batch, differs from a sum by 13 % or more in either its halves or its quarters, at any
temperature."""


def sums_among(
    measures: Callable[[object], Sequence[float]], batch: object, most_draws: int = MOST_DRAWS
) -> list[bool]:
    """Which measures of a batch are sums over its examples.

    A sum is twice the mean over halves of the batch and four times the mean over quarters. The list
    is empty for a batch of fewer than four examples and for one that cannot be split.

    most_draws: evaluations per part, at most, of measures that draw random numbers.
    """
    num_examples = num_examples_in(batch)
    if num_examples < 4:
        return []
    size = min(NUM_COMPARED, num_examples) // 4 * 4
    batch = sliced(batch, slice(0, size), num_examples)
    try:
        by_parts = np.array(
            [_mean_over_parts(measures, batch, size, parts, most_draws) for parts in (1, 2, 4)]
        )
    except Exception:  # the whole batch has been checked before
        return []
    with np.errstate(all="ignore"):
        ratios = by_parts[0] / by_parts[1:]
    return [
        bool(abs(half / 2 - 1) < TOLERANCE and abs(quarter / 4 - 1) < TOLERANCE)
        for half, quarter in ratios.T
    ]


def _mean_over_parts(
    measures: Callable[[object], Sequence[float]],
    batch: object,
    size: int,
    num_parts: int,
    most_draws: int,
) -> NDArray[np.float64]:
    """Mean of the measures over the parts of a batch and, for random measures, over draws."""
    means: list[NDArray[np.float64]] = []
    with isolated(0):
        for draw in range(max(1, min(most_draws, MOST_DRAWS))):
            values = []
            for part in range(num_parts):
                reseed(draw, part)
                first = part * size // num_parts
                values.append(
                    measures(sliced(batch, slice(first, first + size // num_parts), size))
                )
            means.append(np.mean(np.array(values, dtype=float), axis=0))
            if draw == 1 and np.array_equal(means[0], means[1]):
                break
    return np.asarray(np.mean(means, axis=0))
