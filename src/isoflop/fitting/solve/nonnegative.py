"""Non-negative least squares for few amplitudes and many problems at once, over all active sets."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array

__all__ = ["nonnegative_amplitudes"]


def nonnegative_amplitudes(values: Array, target: Array, weights: Array) -> Array:
    """Amplitudes c >= 0 that minimise sum_i w_i (c . values_i - target_i)^2, exactly.

    values: (R, K, n); target: (n,); weights: (n,) or (R, n). Returns (R, K). Amplitudes that
    share no point are solved separately. In each such block all sets of positive amplitudes are
    tried, so that blocks must be small.
    """
    weighted = values * (weights if weights.ndim == 1 else weights[:, None])
    gram, right = weighted @ values.transpose(0, 2, 1), weighted @ target
    amplitudes = np.zeros(right.shape)
    for block in _blocks(gram):
        amplitudes[:, block] = _best_set(gram[:, block[:, None], block], right[:, block])
    return amplitudes


def _blocks(gram: Array) -> list[NDArray[np.intp]]:
    """Indices of the amplitudes that are linked through points, group by group."""
    linked = (np.abs(gram) > 0).any(axis=0) | np.eye(gram.shape[1], dtype=bool)
    for _ in range(gram.shape[1].bit_length()):
        linked = linked @ linked
    return [np.flatnonzero(row) for row in np.unique(linked, axis=0)]


def _best_set(gram: Array, right: Array) -> Array:
    """The best amplitudes of all sets of positive ones, shape (R, K)."""
    best, lowest = np.zeros(right.shape), np.zeros(len(right))
    for size in range(1, right.shape[1] + 1):
        for chosen in combinations(range(right.shape[1]), size):
            trial = _restricted(gram, right, chosen)
            # The objective at a stationary point, up to a constant.
            decrease = -np.einsum("rk,rk->r", trial, right)
            better = (trial >= 0).all(axis=1) & (decrease < lowest)
            best, lowest = (
                np.where(better[:, None], trial, best),
                np.where(better, decrease, lowest),
            )
    return best


def _restricted(gram: Array, right: Array, chosen: tuple[int, ...]) -> Array:
    """Unconstrained solution with only the chosen amplitudes, zeros elsewhere."""
    index = np.array(chosen)
    block = gram[:, index[:, None], index]
    ridge = (
        1e-14 * np.einsum("rkk->rk", block).max(axis=1)[:, None, None] * np.eye(len(index)) + 1e-300
    )
    solution = np.zeros(right.shape)
    solution[:, index] = np.linalg.solve(block + ridge, right[:, index, None])[..., 0]
    return np.nan_to_num(solution, nan=-1.0)
