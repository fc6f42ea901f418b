"""Endless examples, each a function of its number: none is stored, and all machines agree."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader

Batch = tuple[torch.Tensor, torch.Tensor]
Drawn = Callable[[np.ndarray], Batch]
"""Gives the inputs and targets of some numbers."""


def numbered(drawn: Drawn, first: int, num_examples: int) -> DataLoader:
    """The examples from number `first` on. A batch is drawn at once, from its numbers."""
    numbers = range(first, first + num_examples)
    return DataLoader(numbers, collate_fn=partial(_at_once, drawn))  # type: ignore[arg-type]


def _at_once(drawn: Drawn, numbers: list[int]) -> Batch:
    return drawn(np.array(numbers))


def hashed(numbers: np.ndarray, slots: int) -> np.ndarray:
    """Uniform numbers (examples, slots) in 0..1: splitmix64 of the number of example and slot."""
    with np.errstate(over="ignore"):
        z = numbers[:, None] * np.uint64(slots) + np.arange(1, slots + 1, dtype=np.uint64)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
