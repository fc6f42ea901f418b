"""Devices: those of this process, those an executor has for one run, and the number a run gets."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from isoflop.compute.memory import STATE_BYTES_PER_PARAM
from isoflop.display.format import format_count, format_number, quoted
from isoflop.errors import PlanError
from isoflop.runs import RunSpec
from isoflop.training.executors.contract import Executor

__all__ = [
    "GPU_VARIABLE",
    "Devices",
    "bytes_here",
    "check_devices",
    "devices_of",
    "needs_sharding",
    "num_devices",
    "visible_gpus",
]

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""Also read by PyTorch for ROCm."""

Sharding = bool | Literal["auto"]
"""Whether the devices of a run store a part each of its weights and states; "auto" if need be."""

SPREADS = (1, 2, 4, 8)
"""Numbers of devices that "auto" chooses from: at most one machine's, whose links are fast."""


@dataclass(frozen=True)
class Devices:
    """Devices that an executor has for one run.

    per_run: default number of devices per run.
    most: largest number of devices for one run; None if every run has `per_run`.
    num_bytes: memory of each device; None if unknown, and then memory decides nothing.
    """

    per_run: int = 1
    most: int | None = None
    num_bytes: float | None = None


@runtime_checkable
class HasDevices(Protocol):
    """An executor that describes its devices."""

    def run_devices(self) -> Devices: ...


def devices_of(executor: Executor, num_ranks: int) -> Devices:
    """Devices available to one run: those of the executor, or one per rank under `torchrun`."""
    if num_ranks > 1:
        return Devices(per_run=num_ranks, num_bytes=bytes_here())
    return executor.run_devices() if isinstance(executor, HasDevices) else Devices()


def check_devices(
    executor: Executor,
    devices: Devices,
    requested: int | Literal["auto"],
    specs: Iterable[RunSpec],
    sharding: Sharding = "auto",
) -> None:
    """Check that the executor can give the requested devices, and that "auto" can hold every run.

    A requested number is never compared with memory: the user may know more than the prediction.
    Raises PlanError.
    """
    if isinstance(requested, str) and requested == "auto":
        _check_states(devices, specs, sharding)
    elif (
        not isinstance(requested, int)
        or isinstance(requested, bool)
        or not 1 <= requested <= 100_000
    ):
        raise PlanError(
            f'devices_per_run must be "auto" or a whole number from 1, but got {quoted(requested)}.'
        )
    elif devices.most is None and requested != devices.per_run:
        raise PlanError(
            f"devices_per_run={requested} needs Ray() with no number of its own, "
            f"Slurm(ntasks_per_node={requested}) or a start with "
            f"torchrun --nproc_per_node={requested}, but {type(executor).__name__} here gives "
            f"each run {devices.per_run}."
        )


def num_devices(
    spec: RunSpec,
    run_bytes: float | None,
    devices: Devices,
    requested: int | Literal["auto"],
    sharding: Sharding = "auto",
) -> int:
    """Number of devices that a run gets.

    run_bytes: predicted memory of the run on one device; None if unknown.

    "auto" is the fewest devices that hold the run: its part of the batch beside all weights,
    gradients and optimiser states, or, where no number is enough for that, beside a part of them.
    If no number is enough at all, "auto" is the largest: parts of the batch that do not fit are
    taken in pieces.
    """
    if requested != "auto":
        return requested
    if devices.most is None or devices.num_bytes is None or run_bytes is None:
        return devices.per_run
    available = _available(devices, spec.batch)
    whole = [k for k in available if _part_bytes(spec, run_bytes, k) <= devices.num_bytes]
    sharded = [k for k in available if run_bytes / k <= devices.num_bytes]
    fits = {True: sharded, False: whole, "auto": whole or sharded}[sharding]
    return fits[0] if fits else available[-1]


def needs_sharding(
    spec: RunSpec, run_bytes: float | None, devices: Devices, number: int, sharding: Sharding
) -> bool:
    """Whether a run on a number of devices is sharded; "auto" shards what does not fit otherwise.

    A run that fits in neither way is sharded if its states alone exceed a device.
    """
    if number == 1 or sharding != "auto":
        return number > 1 and bool(sharding)
    if devices.num_bytes is None:
        return False
    states = _state_bytes(spec)
    run_bytes = states if run_bytes is None else run_bytes
    fits_whole = _part_bytes(spec, run_bytes, number) <= devices.num_bytes
    fits_sharded = run_bytes / number <= devices.num_bytes
    return not fits_whole and (fits_sharded or states > devices.num_bytes)


def _available(devices: Devices, batch: int | None) -> list[int]:
    """Numbers of devices to choose from; a device without an example would only wait."""
    if devices.most is None:
        return [devices.per_run]
    most = devices.most if batch is None else min(devices.most, batch)
    return [k for k in SPREADS if k <= most]


def _part_bytes(spec: RunSpec, run_bytes: float, number: int) -> float:
    """Memory of each device that stores all states and a part of the activations."""
    states = _state_bytes(spec)
    return states + (run_bytes - states) / number


def bytes_here() -> float:
    """Memory of a run's device in this process, or in one like it."""
    from isoflop.counting.memory import device_bytes

    return device_bytes()


def visible_gpus() -> list[str]:
    """GPUs that this process may use, named as in CUDA_VISIBLE_DEVICES (indices, UUIDs, MIG)."""
    named = os.environ.get(GPU_VARIABLE)
    if named is not None and not named.strip():
        return []
    if find_spec("torch") is None:
        return named.split(",") if named else [str(k) for k in range(_num_gpus_of_driver())]
    import torch

    # Where possible torch counts through the driver, which creates no CUDA context here.
    count = torch.cuda.device_count()
    return (
        [name.strip() for name in named.split(",")][:count]
        if named
        else [str(k) for k in range(count)]
    )


def _num_gpus_of_driver() -> int:
    """GPUs that NVIDIA's driver lists on Linux."""
    folder = Path("/proc/driver/nvidia/gpus")
    return len(os.listdir(folder)) if folder.is_dir() else 0


def _state_bytes(spec: RunSpec) -> float:
    return float(STATE_BYTES_PER_PARAM * spec.num_params)


def _check_states(devices: Devices, specs: Iterable[RunSpec], sharding: Sharding) -> None:
    """Refuse a sweep whose largest states exceed the devices of a run."""
    largest = max(specs, key=_state_bytes)
    number = 1 if sharding is False else _available(devices, largest.batch)[-1]
    needs = _state_bytes(largest)
    if devices.num_bytes is not None and needs / number > devices.num_bytes:
        held = (
            "which each device of a run holds whole"
            if number == 1
            else f"of which each of {number} devices holds a part"
        )
        remedies = "plan with hardware= to leave such sizes out, or train on "
        remedies += "more devices or larger ones." if sharding else "larger devices."
        raise PlanError(
            f"Size {largest.size} ({format_count(largest.num_params)} params) needs "
            f"{format_number(needs / 1e9)} GB for weights, gradients and optimiser states, "
            f"{held}, but a device has {format_number(devices.num_bytes / 1e9)} GB; {remedies}"
        )
