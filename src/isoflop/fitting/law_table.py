"""The numbers of a law as a table, with their intervals."""

from collections.abc import Mapping

import numpy as np

from isoflop.display.format import format_number
from isoflop.display.table import Column, Table
from isoflop.fitting.estimates import estimate
from isoflop.laws.base import Number

__all__ = ["law_table"]


def law_table(
    numbers: Mapping[str, Number], resampled: Mapping[str, Number], level: float
) -> Table:
    """One row for each number of a law, with the interval of its resampled values."""
    columns = (
        Column("number", "number", str, is_number=False),
        Column("value", "value", _written),
        Column("low", "low", _written),
        Column("high", "high", _written),
    )
    estimates = [
        (name, estimate(float(value), np.atleast_1d(resampled[name]), level))
        for name, value in numbers.items()
    ]
    return Table(
        columns, tuple((name, each.value, each.low, each.high) for name, each in estimates)
    )


def _written(value: float) -> str:
    return format_number(value, 4)
