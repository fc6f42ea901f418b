"""Sheet: the unchanged cells of a file or a data frame, with the number of each row.

A file is read in chunks; of a long one, only the columns that are needed are kept.
"""

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError, StoreError, first_line
from isoflop.extras import load_extra
from isoflop.notes.note import Note

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BLOCK",
    "HEAD",
    "Cells",
    "Sheet",
    "Source",
    "is_frame",
    "open_sheet",
    "refuse_doubled",
    "source_of_frame",
]


Cells = Mapping[str, Sequence[Any]]
"""Cells by column."""
HEAD = 10_000
"""First rows, read with all columns to choose those that are needed."""
CHUNK = 20_000
"""Rows of a file held with all their columns at a time."""
BLOCK = 1_000
"""Cells read as numbers at a time."""


@dataclass(frozen=True)
class Sheet:
    """Unchanged cells by column.

    rows: number of each row, counted from 1 at the header of a file, from 0 in a frame.
    names: name of each row, where rows have names, as the runs of a tracker do.
    """

    source: str
    columns: Cells
    rows: Sequence[int] | npt.NDArray[np.int64]
    delimiter: str = ""
    names: Sequence[str] = ()

    def row(self, index: int) -> str:
        if self.names:
            return f"run {one_line(self.names[index], 40)} of {one_line(self.source, 40)}"
        return f"row {self.rows[index]} of {one_line(self.source, 40)}"


@dataclass(frozen=True)
class Source:
    """A table before it is read: its first rows, and a function that reads chosen columns."""

    name: str
    head: Cells
    sheet: Callable[[Sequence[str]], Sheet]
    """Names of columns -> a sheet of these columns."""
    notes: tuple[Note, ...] = ()
    """Notes on which part of a file it is."""


def open_sheet(path: Path) -> Source:
    """Source of a CSV, TSV or parquet file.

    Raises StoreError where the file does not exist, DataError where it is no table.
    """
    if not os.path.exists(path):
        raise StoreError(
            f"There is no file or store {one_line(path, 100)}; check the path, which is read from "
            f"{one_line(Path.cwd(), 100)}."
        )
    if path.suffix.lower() in (".parquet", ".pq"):
        return source_of_frame(_read_parquet(path), path.name)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _source_of_text(path)
    raise DataError(
        f"A table must be a .csv, .tsv, .xlsx, .json, .jsonl or .parquet file, but got "
        f"{one_line(path.name, 60)}; read anything else with pandas and pass the data frame."
    )


def is_frame(value: object) -> TypeGuard["pd.DataFrame"]:
    """True for a pandas DataFrame, without importing pandas: without it no value is one."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def source_of_frame(frame: "pd.DataFrame", name: str = "the data frame") -> Source:
    """Source of a pandas DataFrame."""
    names = _names_of_frame(frame)
    refuse_doubled(names, name)
    places = {column: place for place, column in enumerate(names)}
    return Source(
        name,
        {column: _frame_cells(frame.iloc[:HEAD, place]) for column, place in places.items()},
        partial(_frame_columns, frame, places, name),
    )


def _frame_columns(
    frame: "pd.DataFrame", places: Mapping[str, int], name: str, names: Sequence[str]
) -> Sheet:
    columns = {column: _frame_cells(frame.iloc[:, places[column]]) for column in names}
    return Sheet(name, columns, range(len(frame)))


def _frame_cells(column: "pd.Series[Any]") -> Sequence[Any]:
    """Cells of a column, with None for missing ones."""
    cells: Sequence[Any] = column.astype(object).where(column.notna(), None).tolist()
    return cells


def _names_of_frame(frame: "pd.DataFrame") -> list[str]:
    """Names of the columns; of several levels, the last one where it is unique, else all."""
    if frame.columns.nlevels == 1:
        return [str(name) for name in frame.columns]
    last = [str(levels[-1]) for levels in frame.columns]
    return (
        last
        if len(set(last)) == len(last)
        else ["/".join(map(str, levels)) for levels in frame.columns]
    )


def _read_parquet(path: Path) -> "pd.DataFrame":
    pandas = load_extra("pandas", "tables")  # takes a third of a second that a CSV does not need
    name = one_line(path.name, 60)
    try:
        frame: pd.DataFrame = pandas.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"Reading {name} needs a parquet engine; install one with `pip install pyarrow`, or "
            "save it as CSV."
        ) from error
    except (ValueError, OSError) as error:
        raise DataError(f"{name} is no parquet file: {first_line(error)}") from error
    return frame


@dataclass(frozen=True)
class _Layout:
    """Layout of a text file: its header, its delimiter, and the number of the header's row."""

    path: Path
    header: list[str]
    delimiter: str
    row: int

    @property
    def name(self) -> str:
        return self.path.name


def _source_of_text(path: Path) -> Source:
    layout = _layout(path)
    refuse_doubled(layout.header, layout.name)
    rows = _rows(layout)
    head = _collected(layout, [list(islice(rows, HEAD))], layout.header)
    is_whole = next(rows, None) is None
    return Source(
        layout.name,
        head.columns,
        partial(_part, head) if is_whole else partial(_text_columns, layout),
    )


def _part(sheet: Sheet, names: Sequence[str]) -> Sheet:
    return Sheet(
        sheet.source, {name: sheet.columns[name] for name in names}, sheet.rows, sheet.delimiter
    )


def _layout(path: Path) -> _Layout:
    delimiter = _delimiter(path)
    for row, cells in enumerate(_records(path, delimiter), start=1):
        if not _is_blank(cells):
            return _Layout(path, [cell.strip() for cell in cells], delimiter, row)
    return _Layout(path, [], delimiter, 1)


def _delimiter(path: Path) -> str:
    """The delimiter of cells: the most frequent candidate in the header."""
    header = next((line for line in _lines(path) if line.strip()), "")
    if "\0" in header:
        raise DataError(
            f"{one_line(path.name, 60)} must be UTF-8 text, but its header has zero bytes; save it "
            "as UTF-8."
        )
    return max(",\t;|", key=header.count)


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, newline="", encoding=_encoding(path)) as file:
            yield from file
    except UnicodeError as error:
        raise _undecoded(path) from error
    except OSError as error:
        raise StoreError(f"{one_line(path, 100)} cannot be read: {first_line(error)}.") from error


def _encoding(path: Path) -> str:
    """UTF-8, or UTF-16 where a byte-order mark says so, as in "Unicode text" of spreadsheets."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _undecoded(path: Path) -> DataError:
    name, encoding = one_line(path.name, 60), _encoding(path)
    where = "some bytes are not"
    try:
        path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is not"
    return DataError(
        f"{name} must be {encoding.removesuffix('-sig').upper()} text, but {where}; save it as "
        "UTF-8."
    )


def _records(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The rows of a file, blank ones included."""
    try:
        yield from csv.reader(_lines(path), delimiter=delimiter)
    except csv.Error as error:
        raise DataError(
            f"{one_line(path.name, 60)} is no table: {first_line(error)}; look for a quote that is "
            "not closed."
        ) from error


def _rows(layout: _Layout) -> Iterator[list[str]]:
    """The records below the header."""
    return islice(_records(layout.path, layout.delimiter), layout.row, None)


def _text_columns(layout: _Layout, names: Sequence[str]) -> Sheet:
    return _collected(layout, _in_chunks(_rows(layout)), names)


def _in_chunks(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _collected(layout: _Layout, chunks: Iterable[list[list[str]]], names: Sequence[str]) -> Sheet:
    """Sheet of the named columns from chunks of rows, without blank rows."""
    places = [layout.header.index(name) for name in names]
    columns: list[list[str]] = [[] for _ in names]
    numbers, first = [np.zeros(0, dtype=np.int64)], layout.row + 1
    for chunk in chunks:
        full = [not _is_blank(row) for row in chunk]
        numbers.append(first + np.flatnonzero(full))
        lines = chunk if all(full) else list(compress(chunk, full))
        _refuse_ragged(numbers[-1], lines, len(layout.header), layout.name)
        cells = list(zip(*lines, strict=True)) or [()] * len(layout.header)
        for column, place in zip(columns, places, strict=True):
            column.extend(map(str.strip, cells[place]))
        first += len(chunk)
    return Sheet(
        layout.name,
        dict(zip(names, columns, strict=True)),
        np.concatenate(numbers),
        layout.delimiter,
    )


def _is_blank(row: Sequence[str]) -> bool:
    return not any(map(str.strip, row))


def refuse_doubled(names: Sequence[str], source: str) -> None:
    """Raise DataError where two columns have one name."""
    doubled = [name for name, number in Counter(names).items() if number > 1]
    if doubled:
        raise DataError(
            f"Columns of {one_line(source, 60)} must have unique names, but {quoted(doubled[0])} "
            "appears twice."
        )


def _refuse_ragged(
    numbers: npt.NDArray[np.int64], lines: Sequence[Sequence[str]], width: int, source: str
) -> None:
    widths = list(map(len, lines))
    if widths.count(width) < len(widths):
        index = next(index for index, other in enumerate(widths) if other != width)
        raise DataError(
            f"Every row of {one_line(source, 60)} must have the header's {width} cells, but row "
            f"{numbers[index]} has {widths[index]}; quote cells that hold a comma."
        )
