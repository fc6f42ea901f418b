"""isoflop budget: FLOPs of hours and money, and hours and money of FLOPs."""

# Imported inside the command, as in cli/app.py: `isoflop --help` must answer at once.

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.arguments import positive
from isoflop.cli.options import Json
from isoflop.errors import PlanError

if TYPE_CHECKING:
    from isoflop.compute.compute import Compute, Hardware

__all__ = ["budget"]

PHRASE = (
    "'8xH100 for 3 days at 40% MFU', '1000 H100-hours', '$50,000 at $2.50/H100-hour' or FLOPs such "
    "as 1e21."
)


def budget(
    compute: Annotated[str, typer.Argument(help=PHRASE, metavar="COMPUTE")],
    on: Annotated[
        list[str] | None,
        typer.Option(help="Accelerators to convert it for, e.g. 64xH100; may be repeated."),
    ] = None,
    mfu: Annotated[
        str | None, typer.Option(help="Share of the peak if COMPUTE has none, e.g. 40%.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="Money per accelerator and hour if COMPUTE has none.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, fp16, tf32, fp32 or fp8.")] = None,
    as_json: Json = False,
) -> None:
    """Convert a budget between FLOPs, accelerator-hours, days and money."""
    from isoflop.compute.phrases import parse_compute, parse_precision, parse_share
    from isoflop.reporting.json_output import to_json

    share = None if mfu is None else parse_share(mfu)
    form = None if precision is None else parse_precision(precision)
    paid = None if price is None else float(positive(price, "A price per hour", error=PlanError))
    given = parse_compute(compute, mfu=share, price=paid, precision=form)
    others = [_elsewhere(given, name, share, paid, form) for name in _names(given, on, form)]
    if as_json:
        typer.echo(to_json({**_values(given), "on": [_values(other) for other in others]}))
    else:
        typer.echo("\n\n".join([str(given), *([_table(others, given.notes)] if others else [])]))


def _names(given: "Compute", on: Sequence[str] | None, precision: str | None) -> list[str]:
    """Accelerators to convert for.

    FLOPs alone are converted for every accelerator of the table that has the precision.
    """
    from isoflop.compute.accelerators import ACCELERATORS

    if on or given.hardware is not None:
        return list(on or ())
    return [one.name for one in ACCELERATORS if precision is None or precision in one.teraflops]


def _elsewhere(
    given: "Compute", name: str, share: float | None, price: float | None, precision: str | None
) -> "Compute":
    """The same FLOPs on other accelerators, with the MFU given for the first ones."""
    from isoflop.compute.compute import Compute
    from isoflop.compute.phrases import parse_hardware

    first = given.hardware
    mfu = share if first is None or first.notes else first.mfu
    paid = _price_of(first, name) if price is None else price
    there = parse_hardware(name, mfu=mfu, price=paid, precision=precision)
    return Compute(flops=given.flops).on(there)


def _price_of(first: "Hardware | None", name: str) -> float | None:
    """The given price if it is for the same accelerator."""
    from isoflop.compute.phrases import parse_hardware

    same = first is not None and parse_hardware(name).accelerator == first.accelerator
    return first.price if same and first is not None else None


def _table(computes: Sequence["Compute"], printed: Sequence[str]) -> str:
    from isoflop.display.format import align_columns, format_bullets

    rows = [_cells(compute) for compute in computes]
    kept = [i for i in range(len(_HEADER)) if any(row[i] for row in rows)]
    notes = [note for compute in computes for note in compute.notes if note not in printed]
    shown = align_columns([[row[i] for i in kept] for row in (_HEADER, *rows)])
    return "\n".join([shown, format_bullets(list(dict.fromkeys(notes)))] if notes else [shown])


_HEADER = ("accelerators", "peak FLOP/s", "in", "MFU", "device-hours", "time", "money")


def _cells(compute: "Compute") -> tuple[str, ...]:
    from isoflop.display.format import (
        format_duration,
        format_integer,
        format_money,
        format_percent,
    )

    hardware = compute.hardware
    assert hardware is not None
    assert compute.device_hours is not None
    assert compute.seconds is not None
    device = hardware.accelerator
    return (
        device.name if hardware.number == 1 else f"{hardware.number}x {device.name}",
        f"{device.peak(hardware.precision) / 1e12:,.4g}e12",
        hardware.precision,
        format_percent(hardware.mfu),
        f"{compute.device_hours:,.4g}"
        if compute.device_hours < 1e3
        else format_integer(compute.device_hours),
        format_duration(compute.seconds),
        "" if compute.money is None else format_money(compute.money, hardware.currency),
    )


def _values(compute: "Compute") -> dict[str, object]:
    """The compute for other programs."""
    hardware = compute.hardware
    values: dict[str, object] = {"flops": compute.flops}
    if hardware is not None:
        values |= {
            "accelerator": hardware.accelerator.name,
            "number": hardware.number,
            "precision": hardware.precision,
            "peak_flops_per_second": hardware.accelerator.peak(hardware.precision),
            "source": hardware.accelerator.source,
            "mfu": hardware.mfu,
            "device_hours": compute.device_hours,
            "seconds": compute.seconds,
            "price": hardware.price,
            "money": compute.money,
        }
    return {**values, "notes": compute.notes}
