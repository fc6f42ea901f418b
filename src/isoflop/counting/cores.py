"""Processor cores that runs may use on this machine."""

import os
from pathlib import Path

__all__ = ["num_cores"]


def num_cores() -> int:
    """CPU cores available to this process, by its affinity and the quota of its container."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores, _quota(Path("/sys/fs/cgroup/cpu.max")) or cores))


def _quota(path: Path) -> int | None:
    """Cores that a cgroup grants, rounded down; None for no limit."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) // int(period)
