"""The endless training order: a new permutation of the examples in each epoch, at any position."""

import numpy as np
from numpy.typing import NDArray

from isoflop.user_code.randomness import mix

__all__ = ["Indices", "epoch_and_index"]

Indices = NDArray[np.int64]

NUM_ROUNDS = 6
"""Rounds of the Feistel network: four give a pseudo-random permutation (Luby & Rackoff 1988).

Two more are margin.
"""


def epoch_and_index(seed: int, positions: Indices, num_examples: int) -> tuple[Indices, Indices]:
    """The epoch and the example at each position of the endless training order.

    Every epoch is a new permutation of the examples.
    """
    epochs, offsets = np.divmod(positions, num_examples)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _permuted(offsets[here], num_examples, mix(seed, int(epoch)))
    return epochs, indices


def _permuted(offsets: Indices, size: int, key: int) -> Indices:
    """Values of a pseudo-random permutation of range(size) at some offsets.

    A Feistel network with cycle walking; the permutation itself is never held in memory.
    """
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    values = offsets.astype(np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():  # on average fewer than four rounds, since 4^half < 4 size
        values[outside] = _feistel(values[outside], half, key)
        outside = values >= size
    return values.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, key: int) -> NDArray[np.uint64]:
    mask, shift = np.uint64(2**half - 1), np.uint64(half)
    left, right = values >> shift, values & mask
    for turn in range(NUM_ROUNDS):
        left, right = right, left ^ (_hash(right ^ np.uint64(mix(key, turn))) & mask)
    return (left << shift) | right


def _hash(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
