"""makespan(): seconds of runs that several workers share."""

import heapq
from collections.abc import Iterable

__all__ = ["makespan"]


def makespan(seconds: Iterable[float], num_workers: int) -> float:
    """Seconds until all runs are done on so many workers, the longest begun first (Graham 1969)."""
    busy = [0.0] * num_workers
    for one in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + one)
    return max(busy)
