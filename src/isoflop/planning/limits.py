"""Sizes that the device of a run has no memory for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoflop.compute.accelerators import Accelerator
from isoflop.compute.compute import Hardware
from isoflop.compute.phrases import parse_hardware
from isoflop.counting.memory import device_bytes, has_gpu, least_bytes
from isoflop.counting.sizes import SizeCount
from isoflop.display.format import format_number
from isoflop.errors import PlanError
from isoflop.notes.note import Note

__all__ = ["Room", "named_hardware", "room_on", "within"]

HERE = "here"


@dataclass(frozen=True)
class Room:
    """Memory of the device that one run has to itself, and whether it limits the sizes."""

    device: str
    num_bytes: float
    binds: bool

    def holds(self, counted: SizeCount) -> bool:
        """True if one example of a size fits; larger batches are taken in parts."""
        return not self.binds or least_bytes(counted) <= self.num_bytes

    def notes(self, memory: Mapping[str, float]) -> list[Note]:
        """Notes about runs whose full batch does not fit in memory."""
        most = max(memory.values(), default=0.0)
        if most <= self.num_bytes:
            return []
        needs = f"{most / 1e9:.1f} GB"
        if self.binds:
            text = (
                f"The largest run needs about {needs}, but {self.device} has {self._gigabytes}; "
                f"its batches are taken in parts."
            )
            return [Note("micro-batches", text)]
        text = f"The largest run needs about {needs}, but this machine's device has "
        return [Note("memory-exceeded", f"{text}{self._gigabytes}.")]

    @property
    def _gigabytes(self) -> str:
        return f"{self.num_bytes / 1e9:.1f} GB"

    def left_out(self, counted: SizeCount, larger: bool = False) -> Note:
        """Why a size is not planned; `larger` ones neither."""
        needs = format_number(least_bytes(counted) / 1e9)
        text = (
            f"Size {counted.size} is left out: it needs {needs} GB, but {self.device} has "
            f"{self._gigabytes}."
        )
        return Note("size-left-out-memory", f"{text} So are larger ones." if larger else text)


def named_hardware(hardware: str | None) -> Hardware | None:
    """The accelerators of a plan's `hardware`; None for this machine."""
    return None if hardware is None or _is_here(hardware) else parse_hardware(hardware)


def room_on(hardware: str | None, *, is_trained_here: bool = True) -> Room:
    """Memory that binds a run: of a named accelerator, of this machine for "here", or of its GPU.

    A machine without a GPU often plans for another one; its own memory binds only by name. So does
    that of any machine where another trainer trains.
    """
    named = named_hardware(hardware)
    if named is not None:
        return Room(_one(named.accelerator), named.accelerator.die_bytes, True)
    if not is_trained_here and not _is_here(hardware):
        return Room("the trainer's device", math.inf, False)
    return Room("this machine's device", device_bytes(), _is_here(hardware) or has_gpu())


def _is_here(hardware: object) -> bool:
    return isinstance(hardware, str) and hardware.strip().lower() == HERE


def _one(accelerator: Accelerator) -> str:
    return (
        f"one {accelerator.name}" if accelerator.num_dies == 1 else f"one die of {accelerator.name}"
    )


def within(
    room: Room, counts: Sequence[SizeCount], least: int
) -> tuple[list[SizeCount], list[Note]]:
    """The sizes that fit, and a note for each of the others.

    Raises PlanError where fewer than `least` are left.
    """
    fits = [counted for counted in counts if room.holds(counted)]
    notes = [room.left_out(counted) for counted in counts if not room.holds(counted)]
    if notes and len(fits) < least:
        raise PlanError(
            f"An IsoFLOP curve needs at least {least} sizes, but only {len(fits)} of {len(counts)} "
            f"fit. {notes[0]} Lower the budgets, or name larger hardware=."
        )
    return fits, notes
