"""Sheet: the cells of a table as they stand in a file or a data frame, and where each row stands."""

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from isoflop.errors import DataError, StoreError

__all__ = ["Cells", "Sheet", "is_frame", "read_sheet", "sheet_of_frame"]


Cells = Mapping[str, Sequence[Any]]
"""Cells by column."""


@dataclass(frozen=True)
class Sheet:
    """Cells by column, untouched; `rows` counts as people do: from 1 for the header of a file, from 0 in a frame."""

    source: str
    columns: Cells
    rows: Sequence[int]

    def row(self, index: int) -> str:
        return f"row {self.rows[index]} of {self.source}"


def read_sheet(path: Path) -> Sheet:
    """The cells of a CSV, TSV or parquet file.

    Raises StoreError where there is no such file, DataError where it is no table.
    """
    if not path.exists():
        raise StoreError(
            f"There is no file or store {path}; check the path, which is read from {Path.cwd()}."
        )
    if path.suffix.lower() in (".parquet", ".pq"):
        return sheet_of_frame(_read_parquet(path), path.name)
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _read_text(path)
    raise DataError(
        f"A table must be a .csv, .tsv or .parquet file, but got {path.name}; read anything else with pandas and pass "
        f"the data frame."
    )


def is_frame(value: object) -> bool:
    """True for a pandas DataFrame, without importing pandas to find out: whoever holds one has imported it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def sheet_of_frame(frame: Any, source: str = "the data frame") -> Sheet:
    """The cells of a pandas DataFrame, None where one is missing."""
    names = _names_of_frame(frame)
    _refuse_doubled(names, source)
    columns = (frame.iloc[:, place] for place in range(len(names)))
    cells = [column.astype(object).where(column.notna(), None).tolist() for column in columns]
    return Sheet(source, dict(zip(names, cells, strict=True)), range(len(frame)))


def _names_of_frame(frame: Any) -> list[str]:
    """Names of the columns; of names in several levels the last one, where that tells them apart, else all of them."""
    if frame.columns.nlevels == 1:
        return [str(name) for name in frame.columns]
    last = [str(levels[-1]) for levels in frame.columns]
    return (
        last
        if len(set(last)) == len(last)
        else ["/".join(map(str, levels)) for levels in frame.columns]
    )


def _read_parquet(path: Path) -> Any:
    import pandas as pd  # a third of a second that a CSV does not need

    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"Reading {path.name} needs a parquet engine; install one with `pip install pyarrow`, or save it as CSV."
        ) from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is no parquet file: {error}") from error


def _read_text(path: Path) -> Sheet:
    try:
        with open(
            path, newline="", encoding="utf-8-sig"
        ) as file:  # spreadsheets begin with a byte-order mark
            lines = list(enumerate(_split(file.read()), start=1))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} must be UTF-8 text, but byte {error.start} is not; save it as UTF-8."
        ) from error
    header = lines[0][1] if lines else []
    rows = {number: line for number, line in lines[1:] if any(line)}
    _refuse_doubled(header, path.name)
    _refuse_ragged(rows, len(header), path.name)
    columns = list(zip(*rows.values(), strict=True)) or [()] * len(header)
    return Sheet(path.name, dict(zip(header, columns, strict=True)), list(rows))


def _split(text: str) -> list[list[str]]:
    """Rows of cells; the header tells which sign parts them."""
    delimiter = max(",\t;", key=text.partition("\n")[0].count)
    return [
        [cell.strip() for cell in line]
        for line in csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    ]


def _refuse_doubled(names: Sequence[str], source: str) -> None:
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"Columns of {source} must have different names, but {doubled!r} stands there twice."
        )


def _refuse_ragged(rows: Mapping[int, Sequence[str]], width: int, source: str) -> None:
    for number, line in rows.items():
        if len(line) != width:
            raise DataError(
                f"Every row of {source} must have the header's {width} cells, but row {number} has {len(line)}; "
                f"quote cells that hold a comma."
            )
