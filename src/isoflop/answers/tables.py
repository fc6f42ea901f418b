"""Answers as one table: the paper's compute-optimal table, with intervals."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from isoflop import text
from isoflop.fitting.estimates import Estimate
from isoflop.table import Column, Table

if TYPE_CHECKING:
    from isoflop.answers.optimum import Optimum

__all__ = ["optima_table"]


def optima_table(optima: "Iterable[Optimum]") -> Table:
    """One row for each answer, the paper's compute-optimal table: params, tokens and loss with their intervals.

    Columns that no answer fills are left out: FLOPs of serving, epochs, sizes.
    """
    optima = list(optima)
    level = text.percent(optima[0].level) if optima else ""
    unit = optima[0].unit if optima else "token"
    metrics = list(dict.fromkeys(name for optimum in optima for name in optimum.metrics))
    return Table.filled(
        (
            Column("FLOPs in all", "total_flops", text.flops),
            Column("FLOPs", "flops", text.flops),
            _ends(level, "flops", text.flops),
            Column("params", "params", text.count),
            _ends(level, "params", text.count),
            Column(f"{unit}s", "tokens", text.count),
            _ends(level, "tokens", text.count),
            Column("epochs", "epochs", text.number),
            Column("loss", "loss", text.loss),
            _ends(level, "loss", text.loss),
            Column("bits/byte", "bits_per_byte", text.loss),
            _ends(level, "bits_per_byte", text.loss),
            *(
                column
                for name in metrics
                for column in (Column(name, name, text.number), _ends(level, name, text.number))
            ),
            Column("over-training", "overtraining", lambda factor: f"{text.number(factor)}x"),
            Column("size", "size", str),
        ),
        [_row(optimum, metrics) for optimum in optima],
    )


def _row(optimum: "Optimum", metrics: Sequence[str]) -> tuple[Any, ...]:
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


def _metric(level: str, name: str) -> tuple[Column, Column]:
    return Column(name, name, text.number), _ends(level, name, text.number)


def _ends(level: str, name: str, write: Callable[[float], str]) -> Column:
    """The column of an interval, headed by its level."""
    return Column(
        level, (f"{name}_low", f"{name}_high"), lambda ends: text.interval(ends[0], ends[1], write), is_number=False
    )
