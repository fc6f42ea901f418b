"""Devices: how many there are here, what an executor has for one run, and how many of them a run gets."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isoflop.compute.memory import STATE_BYTES_PER_PARAM
from isoflop.display.format import format_count, format_number, quoted
from isoflop.errors import PlanError
from isoflop.runs import RunSpec

__all__ = [
    "GPU_VARIABLE",
    "Devices",
    "bytes_here",
    "check_devices",
    "devices_of",
    "num_cores",
    "num_devices",
    "visible_gpus",
]

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Also read by PyTorch for ROCm."""

SPREADS = (1, 2, 4, 8)
"""Numbers of devices that "auto" chooses from: up to the devices of one machine, whose links are fast."""


@dataclass(frozen=True)
class Devices:
    """What an executor has for one run.

    per_run: devices of a run that asks for no other number.
    most: devices that one run can be spread over; None where every run has `per_run`.
    num_bytes: memory of each; None where it is not known, and then it decides nothing.
    """

    per_run: int = 1
    most: int | None = None
    num_bytes: float | None = None


def devices_of(executor: Any, num_ranks: int) -> Devices:
    """What runs can have: what the executor tells by `run_devices()`, or where there are several ranks, these."""
    if num_ranks > 1:
        return Devices(per_run=num_ranks, num_bytes=bytes_here())
    told: Devices = executor.run_devices() if hasattr(executor, "run_devices") else Devices()
    return told


def check_devices(
    executor: Any, devices: Devices, asked: int | Literal["auto"], specs: Iterable[RunSpec]
) -> None:
    """Raises PlanError for a number of devices that cannot be given, and for runs that no number of them holds.

    A number that is asked for is taken as it is: the user may know more of a run's memory than what is predicted.
    """
    if isinstance(asked, str) and asked == "auto":
        _check_states(devices, specs)
    elif not isinstance(asked, int) or isinstance(asked, bool) or not 1 <= asked <= 100_000:
        raise PlanError(
            f'devices_per_run must be "auto" or a whole number from 1, but got {quoted(asked)}.'
        )
    elif devices.most is None and asked != devices.per_run:
        raise PlanError(
            f"devices_per_run={asked} needs Ray() with no number of its own, Slurm(ntasks_per_node={asked}) or a start "
            f"with torchrun --nproc_per_node={asked}, but {type(executor).__name__} here gives "
            f"each run {devices.per_run}."
        )


def num_devices(
    spec: RunSpec, run_bytes: float | None, devices: Devices, asked: int | Literal["auto"]
) -> int:
    """How many devices a run gets.

    run_bytes: predicted memory of the run on one device; None where it could not be told.

    "auto" is the fewest that hold the run. Each of them holds all weights, gradients and optimiser states and its part
    of the batch, so only activations are divided. Where no number is enough it is the most there are: parts of the
    batch that do not fit are taken in pieces.
    """
    if asked != "auto":
        return asked
    if devices.most is None or devices.num_bytes is None or run_bytes is None:
        return devices.per_run
    states = _state_bytes(spec)
    most = min(devices.most, spec.batch or 1)  # a device without an example would only wait
    there = [k for k in SPREADS if k <= most]
    fits = [k for k in there if states + (run_bytes - states) / k <= devices.num_bytes]
    return fits[0] if fits else there[-1]


def bytes_here() -> float:
    """Memory of the device that a run has in this process, or in one like it."""
    from isoflop.planning.cost import (
        device_bytes,  # a worker reads this module before it may load torch
    )

    return device_bytes()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes; MIG slices and UUIDs too."""
    named = os.environ.get(GPU_VARIABLE)
    if named is not None and not named.strip():
        return []
    import torch

    # Asked of the driver, not of CUDA, where the driver can tell: no context is made in this process.
    count = torch.cuda.device_count()
    return (
        [name.strip() for name in named.split(",")][:count]
        if named
        else [str(k) for k in range(count)]
    )


def num_cores() -> int:
    """CPU cores that this process may keep busy: its affinity, and the quota of its container."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores, _quota(Path("/sys/fs/cgroup/cpu.max")) or cores))


def _state_bytes(spec: RunSpec) -> float:
    return float(STATE_BYTES_PER_PARAM * spec.num_params)


def _check_states(devices: Devices, specs: Iterable[RunSpec]) -> None:
    largest = max(specs, key=_state_bytes)
    needs = _state_bytes(largest)
    if devices.num_bytes is not None and needs > devices.num_bytes:
        raise PlanError(
            f"Size {largest.size} ({format_count(largest.num_params)} params) needs {format_number(needs / 1e9)} GB for weights, "
            f"gradients and optimiser states, which each device of a run holds whole, but a device has "
            f"{format_number(devices.num_bytes / 1e9)} GB; plan with hardware= to leave such sizes out, or train on devices "
            f"with more memory."
        )


def _quota(path: Path) -> int | None:
    """Cores that a cgroup grants, rounded down; None for no limit."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) // int(period)
