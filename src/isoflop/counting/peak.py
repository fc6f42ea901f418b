"""The reference for a run's speed: the FLOP/s of a large matrix product on this device."""

import time
from functools import cache

import torch

from isoflop.recipe import Precision

__all__ = ["is_bf16", "peak_flops"]

NUM_TRIES, MOST_SECONDS = 4, 0.3
"""Products that are timed, and time after which no more are: a CPU may be slow in bf16."""
SIDE, SIDE_IN_BF16 = {"cpu": 1024, "cuda": 8192}, {"cpu": 512, "cuda": 8192}
"""Large enough to reach the peak: 13 ms on one CPU core, 2 ms on a data-centre GPU in bf16. A CPU
without instructions for bf16 takes a hundred times as long for a product."""


def is_bf16(precision: Precision, device: str) -> bool:
    """True if runs of a recipe's precision multiply in bf16 on a device type."""
    if precision == "auto":
        return device == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"


def peak_flops(device: str, in_bf16: bool) -> float:
    """FLOP/s of this process on a device type in bf16, or in fp32 (TF32 if torch allows it).

    Measured once.
    """
    return _peak(device, in_bf16, torch.get_num_threads())


@cache
def _peak(device: str, in_bf16: bool, num_threads: int) -> float:
    side = (SIDE_IN_BF16 if in_bf16 else SIDE).get(device, 2048)
    dtype = torch.bfloat16 if in_bf16 else torch.float32
    left, right = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [_seconds(left, right)]
    while len(times) < NUM_TRIES and sum(times) < MOST_SECONDS:
        times.append(_seconds(left, right))
    return 2.0 * side**3 / min(times)


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    _synchronise(left)
    start = time.perf_counter()
    left @ right
    _synchronise(left)
    return time.perf_counter() - start


def _synchronise(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()
