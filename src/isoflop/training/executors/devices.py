"""How many runs this machine can train at once, and on which GPU each worker computes."""

import os
from pathlib import Path

__all__ = ["GPU_VARIABLE", "num_cores", "visible_gpus"]

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Also read by PyTorch for ROCm."""


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; MIG slices and UUIDs too."""
    named = os.environ.get(GPU_VARIABLE)
    if named is not None and not named.strip():
        return []
    import torch

    # Asked of the driver, not of CUDA, where the driver can tell: no context is made in this process.
    count = torch.cuda.device_count()
    return [name.strip() for name in named.split(",")][:count] if named else [str(k) for k in range(count)]


def num_cores() -> int:
    """CPU cores that this process may keep busy: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota(Path("/sys/fs/cgroup/cpu.max")) or cores))


def _quota(path: Path) -> int | None:
    """Cores that a cgroup grants, rounded down; None for no limit."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) // int(period)
