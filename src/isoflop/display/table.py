"""Table: values by row, and the format of each column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isoflop.display.format import LONG, one_line

__all__ = ["Column", "Table"]


@dataclass(frozen=True)
class Column:
    """A column: its heading, the name of its values in code, and their format.

    A column of pairs, such as the ends of an interval, has two names.
    """

    heading: str
    name: str | tuple[str, str]
    write: Callable[[Any], str]
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Values by row, and their formats; None marks a missing value."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def filled(cls, columns: Sequence[Column], rows: Sequence[tuple[object, ...]]) -> "Table":
        """A table without empty columns."""
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
        """Names of a row's values, two for a pair."""
        parts = [(c.name,) if isinstance(c.name, str) else c.name for c in self.columns]
        return [name for names in parts for name in names]

    def values(self) -> list[list[object]]:
        """The rows unrounded, with pairs taken apart."""
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


def _parts(value: Any, column: Column) -> tuple[object, ...]:
    if isinstance(column.name, str):
        return (value,)
    return (None, None) if value is None else tuple(value)


def _cell(column: Column, value: object) -> str:
    return "" if value is None else one_line(column.write(value), LONG)
