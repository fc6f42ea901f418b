"""Answers as one table: the compute-optimal table of papers, with intervals."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_loss,
    format_number,
    format_percent,
)
from isoflop.display.table import Column, Table
from isoflop.fitting.estimates import Estimate

if TYPE_CHECKING:
    from isoflop.answers.optimum import Optimum

__all__ = ["optima_table"]


def optima_table(optima: "Iterable[Optimum]") -> Table:
    """One row for each answer: params, tokens and loss, with their intervals.

    Columns that no answer fills are left out: FLOPs of serving, epochs, sizes.
    """
    optima = list(optima)
    level = format_percent(optima[0].level) if optima else ""
    unit = optima[0].unit if optima else "token"
    metrics = list(dict.fromkeys(name for optimum in optima for name in optimum.metrics))
    return Table.filled(
        (
            Column("FLOPs in all", "total_flops", format_flops),
            Column("FLOPs", "flops", format_flops),
            _ends(level, "flops", format_flops),
            Column("params", "params", format_count),
            _ends(level, "params", format_count),
            Column(f"{unit}s", "tokens", format_count),
            _ends(level, "tokens", format_count),
            Column("epochs", "epochs", format_number),
            Column("loss", "loss", format_loss),
            _ends(level, "loss", format_loss),
            Column("bits/byte", "bits_per_byte", format_loss),
            _ends(level, "bits_per_byte", format_loss),
            *(
                column
                for name in metrics
                for column in (Column(name, name, format_number), _ends(level, name, format_number))
            ),
            Column("over-training", "overtraining", lambda factor: f"{format_number(factor)}x"),
            Column("size", "size", str),
        ),
        [_row(optimum, metrics) for optimum in optima],
    )


def _row(optimum: "Optimum", metrics: Sequence[str]) -> tuple[object, ...]:
    serving, repetition = optimum.serving, optimum.repetition
    return (
        None if serving is None else serving.total.value,
        optimum.flops,
        _value_and_ends(optimum.flops_needed)[1],
        *_value_and_ends(optimum.num_params),
        *_value_and_ends(optimum.num_tokens),
        None if repetition is None else repetition.epochs.value,
        *_value_and_ends(optimum.loss),
        *_value_and_ends(optimum.bits_per_byte),
        *(part for name in metrics for part in _value_and_ends(optimum.metrics.get(name))),
        None if serving is None else serving.overtraining.value,
        optimum.size,
    )


def _value_and_ends(estimate: Estimate | None) -> tuple[float | None, tuple[float, float] | None]:
    return (None, None) if estimate is None else (estimate.value, (estimate.low, estimate.high))


def _ends(level: str, name: str, write: Callable[[float], str]) -> Column:
    """The column of an interval, under its level."""
    return Column(
        level,
        (f"{name}_low", f"{name}_high"),
        lambda ends: format_interval(ends[0], ends[1], write),
        is_number=False,
    )
