"""Planned runs as a table, with the cost of each."""

from collections.abc import Iterable, Mapping

from isoflop.compute.compute import Hardware
from isoflop.display.format import (
    format_count,
    format_duration,
    format_flops,
    format_memory,
    format_number,
    format_percent,
)
from isoflop.display.table import Column, Table
from isoflop.runs import RunSpec

__all__ = ["specs_table"]

NOTHING: Mapping[str, float] = {}


def specs_table(
    specs: Iterable[RunSpec],
    seconds: Mapping[str, float] = NOTHING,
    memory_bytes: Mapping[str, float] = NOTHING,
    mfu: Mapping[str, float] = NOTHING,
    hardware: Hardware | None = None,
) -> Table:
    """One row for each planned run, with epochs and seeds where runs differ in them.

    seconds, memory_bytes, mfu: predictions per run id.
    hardware: accelerators that the runs are timed for, besides this machine.
    """
    specs = list(specs)
    repeated, seeded = (
        any((spec.epochs or 0) > 1 for spec in specs),
        len({spec.seed for spec in specs}) > 1,
    )
    return Table.filled(
        (
            Column("budget", "compute_budget", format_flops),
            Column("size", "size", str),
            Column("params", "params", format_count),
            Column("tokens", "tokens", format_count),
            Column("per param", "tokens_per_param", _two_digits),
            Column("epochs", "epochs", _two_digits),
            Column("steps", "steps", str),
            Column("batch", "batch", str),
            Column("lr", "lr", _two_digits),
            Column("seed", "seed", str),
            Column("FLOPs", "flops", format_flops),
            Column("time", "seconds", format_duration),
            Column("MFU", "mfu", format_percent),
            Column(
                f"on {hardware.accelerator.name}" if hardware else "",
                "hardware_seconds",
                format_duration,
            ),
            Column("memory", "memory_bytes", format_memory),
        ),
        [
            (
                *_spec_cells(spec, repeated, seeded),
                spec.flops,
                seconds.get(spec.id),
                mfu.get(spec.id),
                spec.flops / hardware.flops_per_second if hardware else None,
                memory_bytes.get(spec.id),
            )
            for spec in specs
        ],
    )


def _spec_cells(spec: RunSpec, repeated: bool, seeded: bool) -> tuple[object, ...]:
    is_open = spec.batch is None or spec.tokens_per_example is None
    sized = (
        spec.budget,
        spec.size,
        spec.num_params,
        spec.num_tokens,
        spec.num_tokens / spec.num_params,
    )
    return (
        *sized,
        spec.epochs if repeated else None,
        None if is_open else round(spec.num_steps),
        spec.batch,
        spec.lr,
        spec.seed if seeded else None,
    )


def _two_digits(value: float) -> str:
    return format_number(value, 2)
