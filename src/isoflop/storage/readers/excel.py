"""Tables of Excel: the values of a workbook's first sheet, or of one that is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.display.format import join_words, one_line
from isoflop.errors import DataError
from isoflop.extras import load_extra
from isoflop.notes.note import Note
from isoflop.storage.readers.tracked import failures_as_errors
from isoflop.storage.sheet import Sheet, Source, refuse_doubled

__all__ = ["EXCEL", "source_of_workbook"]

EXCEL = (".xlsx", ".xlsm")


def source_of_workbook(path: Path, name: str = "") -> Source:
    """Source of a workbook, with the stored results of formulas; nothing in it is executed.

    Raises DataError where it has no sheet of that name, InstallError where openpyxl is missing.
    """
    load = load_extra("openpyxl", "excel").load_workbook
    with failures_as_errors(path):
        book = load(path, read_only=True, data_only=True)
        try:
            sheets = [sheet for sheet in book.worksheets if _rows(sheet)]
            titles = [sheet.title for sheet in sheets]
            if name and name not in titles:
                raise DataError(
                    f"{one_line(path.name, 60)} has no sheet {name!r}; it has {_listed(titles)}."
                )
            chosen = [sheet for sheet in sheets if name in ("", sheet.title)][:1]
            rows = [row for sheet in chosen for row in _rows(sheet)]
        finally:
            book.close()
    others = [title for title in titles if title != (name or titles[0])]
    return _source(path.name, rows, () if name else _notes(titles, others))


def _rows(sheet: Any) -> list[tuple[int, tuple[object, ...]]]:
    """(number, cells) of each row that has any."""
    sheet.reset_dimensions()  # some programs write wrong ones
    numbered = enumerate(sheet.iter_rows(values_only=True), start=1)
    return [(number, row) for number, row in numbered if any(cell is not None for cell in row)]


def _source(
    name: str, rows: Sequence[tuple[int, tuple[object, ...]]], notes: tuple[Note, ...]
) -> Source:
    header = rows[0][1] if rows else ()
    places = [place for place, title in enumerate(header) if title is not None]
    titles = [str(header[place]).strip() for place in places]
    refuse_doubled(titles, name)
    cells = {
        title: [row[place] if place < len(row) else None for _, row in rows[1:]]
        for title, place in zip(titles, places, strict=True)
    }
    numbers = np.array([number for number, _ in rows[1:]], dtype=np.int64)

    def sheet(chosen: Sequence[str]) -> Sheet:
        return Sheet(name, {column: cells[column] for column in chosen}, numbers)

    return Source(name, cells, sheet, notes)


def _notes(titles: Sequence[str], others: Sequence[str]) -> tuple[Note, ...]:
    if not others:
        return ()
    text = f"The sheet {titles[0]!r} was read, and not {_listed(others)}."
    return (Note("table-sheet", text),)


def _listed(titles: Sequence[str]) -> str:
    return join_words([repr(one_line(title, 30)) for title in titles])
