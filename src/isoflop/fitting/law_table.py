"""A law's numbers as a table, with their intervals."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from isoflop.display.format import format_number
from isoflop.display.table import Column, Table
from isoflop.fitting.estimates import estimate

__all__ = ["law_table"]


def law_table(law: Any, resamples: Any, level: float) -> Table:
    """One row for each number of a law, with the interval that the law of resampled numbers gives it."""
    columns = (
        Column("number", "number", str, is_number=False),
        Column("value", "value", _written),
        Column("low", "low", _written),
        Column("high", "high", _written),
    )
    found = [
        (name, estimate(value, drawn, level)) for name, value, drawn in _numbers(law, resamples)
    ]
    return Table(columns, tuple((name, each.value, each.low, each.high) for name, each in found))


def _numbers(law: Any, resamples: Any, within: str = "") -> Iterator[tuple[str, float, Any]]:
    """Name, value and draws of each number; those of a law in a law are named num_params.exponent."""
    for part in fields(law):
        name, value, drawn = (
            within + part.name,
            getattr(law, part.name),
            getattr(resamples, part.name),
        )
        if is_dataclass(value):
            yield from _numbers(value, drawn, f"{name}.")
        elif value is not None:
            yield name, float(value), np.atleast_1d(drawn)


def _written(value: float) -> str:
    return format_number(value, 4)
