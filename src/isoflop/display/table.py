"""Table: values by row, and how each column of them is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isoflop.display.format import LONG, one_line

__all__ = ["Column", "Table"]


@dataclass(frozen=True)
class Column:
    """A column: its heading, the name that code knows it by, and how a value of it is written.

    A column of pairs, as the ends of an interval, has a name for each of the two.
    """

    heading: str
    name: str | tuple[str, str]
    write: Callable[[Any], str]
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Values by row, and how to write them; None where there is no value."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def filled(cls, columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> "Table":
        """A table without the columns that no row fills."""
        kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
        return cls(
            tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)
        )

    def cells(self) -> list[list[str]]:
        """The rows as people read them, each cell in one line."""
        return [
            [_cell(column, value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def names(self) -> list[str]:
        """Names of all values of a row, a pair's two apart."""
        return [name for column in self.columns for name in _parts(column.name, column)]

    def values(self) -> list[list[Any]]:
        """The rows unrounded, a pair's two apart."""
        return [
            [
                part
                for column, value in zip(self.columns, row, strict=True)
                for part in _parts(value, column)
            ]
            for row in self.rows
        ]

    def headings(self) -> list[str]:
        return [one_line(column.heading) for column in self.columns]


def _parts(value: Any, column: Column) -> tuple[Any, ...]:
    if isinstance(column.name, str):
        return (value,)
    return (None, None) if value is None else tuple(value)


def _cell(column: Column, value: Any) -> str:
    return "" if value is None else one_line(column.write(value), LONG)
