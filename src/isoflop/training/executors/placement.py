"""What a run asks of a cluster: a share of a GPU, a GPU, or several; and main memory."""

import math

from isoflop.training.executors.contract import Demand

__all__ = ["gpu_share", "memory_class"]

MARGIN = 1.25
"""What the allocator may hold beyond what is in use; a guess on the safe side."""
CONTEXT_BYTES = 1e9
"""Of a CUDA context with its libraries, per process."""
MAX_SHARING = 8
"""More processes on one GPU wait for each other's kernels."""

GIBIBYTE = 2**30


def gpu_share(demand: Demand, gpu_bytes: float | None) -> float:
    """1/k of a GPU where k such runs fit beside each other; a whole one where that is not known."""
    if demand.memory_bytes is None or gpu_bytes is None:
        return 1.0
    need = (demand.memory_bytes * MARGIN + CONTEXT_BYTES) / gpu_bytes
    return 1.0 / max(1, min(MAX_SHARING, math.floor(1 / need)))


def memory_class(demand: Demand, largest_bytes: float) -> int:
    """Main memory to ask for: a power of two GiB, so that most runs look alike; 0 below one, at most what a node has.

    Runs that ask for the same are begun in the order they were handed in, which is longest first.
    """
    need = (demand.memory_bytes or 0.0) * MARGIN
    if need < GIBIBYTE:
        return 0
    return int(min(2.0 ** math.ceil(math.log2(need / GIBIBYTE)) * GIBIBYTE, largest_bytes))
