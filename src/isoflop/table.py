"""Table: values by row, and how each column of them is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "Table"]


@dataclass(frozen=True)
class Column:
    """A column: its heading, the name that code knows it by, and how a value of it is written."""

    heading: str
    name: str
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
        return cls(tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))

    def cells(self) -> list[list[str]]:
        """The rows as people read them."""
        return [[_cell(column, value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]


def _cell(column: Column, value: Any) -> str:
    return "" if value is None else column.write(value)
