"""Endless examples, each a function of its number: none is stored, and all machines agree."""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

Pair = tuple[torch.Tensor, torch.Tensor]


class Numbered(Dataset):
    """Pairs (input, target), numbered from `first` on; `drawn` gives those of some numbers."""

    def __init__(self, drawn: Callable[[np.ndarray], Pair], first: int, num_examples: int) -> None:
        self.drawn, self.first, self.num_examples = drawn, first, num_examples

    def __len__(self) -> int:
        return self.num_examples

    def __getitem__(self, index: int) -> Pair:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Pair]:
        inputs, targets = self.drawn(np.array(indices) + self.first)
        return list(zip(inputs.unbind(), targets.unbind(), strict=True))


def hashed(numbers: np.ndarray, slots: int) -> np.ndarray:
    """Uniform numbers (examples, slots) in 0..1: splitmix64 of the number of example and slot."""
    with np.errstate(over="ignore"):
        z = numbers[:, None] * np.uint64(slots) + np.arange(1, slots + 1, dtype=np.uint64)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
