"""Resources to request from a cluster for a run: a share of a GPU, and main memory."""

import math

from isoflop.training.executors.contract import Demand

__all__ = ["gpu_share", "memory_class"]

MARGIN = 1.25
"""Memory held by the allocator over memory in use; a guess on the safe side."""
CONTEXT_BYTES = 1e9
"""Memory of a CUDA context with its libraries, per process."""
MAX_SHARING = 8
"""More processes on one GPU wait for each other's kernels."""

GIBIBYTE = 2**30


def gpu_share(demand: Demand, gpu_bytes: float | None) -> float:
    """1/k of a GPU if k such runs fit beside each other; a whole one if the memory is unknown."""
    if demand.memory_bytes is None or gpu_bytes is None:
        return 1.0
    need = (demand.memory_bytes * MARGIN + CONTEXT_BYTES) / gpu_bytes
    return 1.0 / max(1, min(MAX_SHARING, math.floor(1 / need)))


def memory_class(demand: Demand, largest_bytes: float) -> int:
    """Main memory to request, in bytes: a power of two GiB, at most that of a node; 0 below 1 GiB.

    Powers of two give most runs the same request. A cluster begins runs of equal requests in the
    order of their submission, which is longest first.
    """
    need = (demand.memory_bytes or 0.0) * MARGIN
    if need < GIBIBYTE:
        return 0
    return int(min(2.0 ** math.ceil(math.log2(need / GIBIBYTE)) * GIBIBYTE, largest_bytes))
