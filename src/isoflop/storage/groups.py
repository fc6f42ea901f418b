"""read_groups(): the runs of a table for each value of a column, such as an architecture."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop import arguments
from isoflop.display.format import join_words, one_line, quoted
from isoflop.errors import DataError
from isoflop.notes.note import Note
from isoflop.runs import Run
from isoflop.storage.sheet import Source, is_frame, open_sheet, source_of_frame
from isoflop.storage.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_grouped", "read_groups"]


def read_groups(
    source: "str | os.PathLike[str] | pd.DataFrame",
    *,
    by: str,
    columns: Mapping[str, str] | None = None,
    vocabulary: float | None = None,
    schedule: str | None = None,
) -> dict[str, list[Run]]:
    """The runs of a table for each value of a column: architectures, data sets, optimisers.

    Each group may be fitted alone, or all with shared exponents by `fit_systems`.

    by: name of the column.
    source, columns, vocabulary, schedule: as for `read_runs`.

    Raises DataError where the table has no such column, or cannot be read.
    """
    return read_grouped(source, by=by, columns=columns, vocabulary=vocabulary, schedule=schedule)[0]


def read_grouped(
    source: "str | os.PathLike[str] | pd.DataFrame",
    *,
    by: str,
    columns: Mapping[str, str] | None = None,
    vocabulary: float | None = None,
    schedule: str | None = None,
) -> tuple[dict[str, list[Run]], tuple[Note, ...]]:
    """`read_groups` with notes on how the table was read."""
    by = arguments.word(by, "read_groups: by")
    opened = _opened(source)
    names = [*opened.head]
    if by not in names:
        raise DataError(
            f"{one_line(opened.name, 30)} has no column {quoted(by, 30)}; it has "
            f"{join_words(names, most=12)}."
        )
    labels = [str(cell).strip() for cell in opened.sheet([by]).columns[by]]
    read = read_table(source, columns=columns, vocabulary=vocabulary, schedule=schedule)
    groups: dict[str, list[Run]] = {}
    for label, run in zip(labels, read.runs, strict=True):
        groups.setdefault(label, []).append(run)
    return groups, read.notes


def _opened(source: object) -> Source:
    if is_frame(source):
        return source_of_frame(source)
    return open_sheet(Path(arguments.a_path(source, "read_groups: source")))
