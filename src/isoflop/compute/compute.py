"""Hardware and Compute: FLOPs as accelerator-hours, days and money, and back.

FLOPs = accelerator-seconds x dense peak FLOP/s x MFU. MFU is the share of the peak that training
achieves, counted in the model's FLOPs.
"""

from dataclasses import dataclass, replace

from isoflop.compute.accelerators import Accelerator
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_duration,
    format_flops,
    format_html,
    format_integer,
    format_money,
    format_number,
    format_percent,
)
from isoflop.errors import PlanError
from isoflop.notes.note import Note

__all__ = ["HOUR", "MOST_FLOPS", "Compute", "Hardware", "compute_of", "default_mfu"]

HOUR = 3600.0
MOST_FLOPS = 1e60
"""More than any real compute; arithmetic with it stays finite."""

MFU, MFU_SOURCE = (
    0.38,
    "the lowest of Llama 3 405B's trainings, 38 to 43 % (Grattafiori et al. 2024, table 4)",
)
MFU_FP8, MFU_FP8_SOURCE = (
    0.17,
    "6 N D of DeepSeek-V3's training over its H800-hours (DeepSeek-AI 2024, table 1)",
)
"""37e9 active params, 14.8e12 tokens, 2.664e6 hours of 1979e12 FLOP/s: 0.173."""


def default_mfu(precision: str | None) -> tuple[float, str]:
    """A cautious MFU for a precision, and its source."""
    return (MFU_FP8, MFU_FP8_SOURCE) if precision == "fp8" else (MFU, MFU_SOURCE)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Accelerators for a run or a sweep, and the share of their peak that it uses.

    number: accelerators that work at the same time; None if only accelerator-hours were given.
    mfu: share of the dense peak in `precision`.
    price: money per accelerator and hour, in `currency`.
    """

    accelerator: Accelerator
    number: int | None = None
    mfu: float = MFU
    precision: str
    price: float | None = None
    currency: str = "$"
    notes: tuple[Note, ...] = ()

    @property
    def flops_per_second(self) -> float:
        """FLOP/s of one accelerator at this MFU."""
        return self.mfu * self.accelerator.peak(self.precision)

    def __str__(self) -> str:
        many = "" if self.number is None else f"{self.number}x "
        return (
            f"{many}{self.accelerator.name} at {format_percent(self.mfu)} MFU in {self.precision}"
        )


@dataclass(frozen=True, kw_only=True)
class Compute:
    """FLOPs, and their time and price on hardware where that is known.

    device_seconds: seconds of one accelerator, summed over all of them; None without hardware.
    """

    flops: float
    hardware: Hardware | None = None
    device_seconds: float | None = None
    notes: tuple[Note, ...] = ()

    @property
    def device_hours(self) -> float | None:
        """Accelerator-hours."""
        return None if self.device_seconds is None else self.device_seconds / HOUR

    @property
    def seconds(self) -> float | None:
        """Seconds from start to end; None if the number of accelerators is unknown."""
        if self.hardware is None or self.hardware.number is None or self.device_seconds is None:
            return None
        return self.device_seconds / self.hardware.number

    @property
    def money(self) -> float | None:
        """Price of all accelerator-hours; None if the price is unknown."""
        if self.hardware is None or self.hardware.price is None or self.device_hours is None:
            return None
        return self.hardware.price * self.device_hours

    def on(self, hardware: Hardware) -> "Compute":
        """The same FLOPs on other hardware."""
        notes = tuple(dict.fromkeys((*self.notes, *hardware.notes)))
        return replace(
            self,
            hardware=hardware,
            device_seconds=self.flops / hardware.flops_per_second,
            notes=notes,
        )

    def __str__(self) -> str:
        lines = [
            f"{format_flops(self.flops)} FLOPs",
            align_columns(_rows(self), "  "),
            format_bullets(self.notes),
        ]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return format_html(f"{format_flops(self.flops)} FLOPs", [_rows(self)], self.notes)


def compute_of(hardware: Hardware, device_seconds: float) -> Compute:
    """The FLOPs of `device_seconds` seconds of one accelerator.

    Raises PlanError for no FLOPs, or more than MOST_FLOPS.
    """
    flops = device_seconds * hardware.flops_per_second
    if not (device_seconds > 0 and 0 < flops < MOST_FLOPS):
        hours = f"{device_seconds / HOUR:g} hours of one accelerator"
        raise PlanError(
            f"A budget must have a positive, finite duration, but got {hours}; "
            f"give another duration."
        )
    return Compute(
        flops=flops, hardware=hardware, device_seconds=device_seconds, notes=hardware.notes
    )


def _rows(compute: Compute) -> list[tuple[str, ...]]:
    hardware, hours = compute.hardware, compute.device_hours
    if hardware is None or hours is None:
        return []
    rows: list[tuple[str, ...]] = [
        ("on", _device_text(hardware)),
        ("source", hardware.accelerator.source),
    ]
    rows.append(("MFU", format_percent(hardware.mfu)))
    rows.append((f"{hardware.accelerator.name} hours", _hours_text(hours)))
    if compute.seconds is not None:
        rows.append(("time", f"{format_duration(compute.seconds)} on {hardware.number}"))
    if compute.money is not None:
        money = format_money(compute.money, hardware.currency)
        rows.append(("money", f"{money} at {_price_text(hardware)} per hour of one"))
    return rows


def _device_text(hardware: Hardware) -> str:
    device = hardware.accelerator
    peak = f"{device.peak(hardware.precision) / 1e12:,.4g}e12 FLOP/s in {hardware.precision}"
    return f"{device.name}: {peak} (dense), {device.memory_bytes / 1e9:.0f} GB"


def _hours_text(hours: float) -> str:
    return format_integer(hours) if hours >= 100 else format_number(hours)


def _price_text(hardware: Hardware) -> str:
    """The price per hour: to the cent, or to three digits for very low and very high prices."""
    price = hardware.price or 0.0
    return f"{hardware.currency}{f'{price:,.2f}' if 0.01 <= price < 1e6 else format_number(price)}"
