"""Answers as one table: the paper's compute-optimal table, with intervals."""

from collections.abc import Iterable
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
    return Table.filled(
        (
            Column("FLOPs in all", "total_flops", text.flops),
            Column("FLOPs", "flops", text.flops),
            Column(level, "flops_interval", lambda ends: text.interval(ends[0], ends[1], text.flops), is_number=False),
            Column("params", "params", text.count),
            Column(level, "params_interval", _interval, is_number=False),
            Column(f"{unit}s", "tokens", text.count),
            Column(level, "tokens_interval", _interval, is_number=False),
            Column("epochs", "epochs", text.number),
            Column("loss", "loss", text.loss),
            Column(level, "loss_interval", lambda ends: text.interval(ends[0], ends[1], text.loss), is_number=False),
            Column("over-training", "overtraining", lambda factor: f"{text.number(factor)}x"),
            Column("size", "size", str),
        ),
        [_row(optimum) for optimum in optima],
    )


def _row(optimum: "Optimum") -> tuple[Any, ...]:
    serving, repetition = optimum.serving, optimum.repetition
    return (
        None if serving is None else serving.total.value,
        optimum.flops,
        _value_and_ends(optimum.flops_needed)[1],
        *_value_and_ends(optimum.num_params),
        *_value_and_ends(optimum.num_tokens),
        None if repetition is None else repetition.epochs.value,
        *_value_and_ends(optimum.loss),
        None if serving is None else serving.overtraining.value,
        optimum.size,
    )


def _value_and_ends(estimate: Estimate | None) -> tuple[float | None, tuple[float, float] | None]:
    return (None, None) if estimate is None else (estimate.value, (estimate.low, estimate.high))


def _interval(ends: tuple[float, float]) -> str:
    return text.interval(*ends)
