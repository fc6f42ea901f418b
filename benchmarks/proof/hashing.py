"""Random numbers that are functions of an example's number: none is stored, all machines agree."""

import numpy as np


def hashed(numbers: np.ndarray, slots: int) -> np.ndarray:
    """Uniform numbers (examples, slots) in 0..1: splitmix64 of the number of example and slot."""
    with np.errstate(over="ignore"):
        z = numbers[:, None] * np.uint64(slots) + np.arange(1, slots + 1, dtype=np.uint64)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
