"""The columns of a table that runs need, read as numbers and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.laws.points import joined_budgets
from isoflop.notes.note import Note
from isoflop.runs import RunSpec
from isoflop.storage.columns import SETTINGS, Column, find_columns, find_metrics
from isoflop.storage.counts import completed, refuse_wrong_units
from isoflop.storage.notation import Numbers, decimal_signs
from isoflop.storage.numbers import Read, read_numbers
from isoflop.storage.rows import TableColumns, first_errors
from isoflop.storage.settings import settings_of, vocabulary_of, worse_than_guessing
from isoflop.storage.sheet import Sheet, Source
from isoflop.storage.units import COUNTS, refuse_mixed_flops, refuse_mixed_units, refuse_too_large

__all__ = ["Given", "columns_of"]

_NUMBERS = ("params", "tokens", "flops", "loss", "compute_budget", "loss_stderr")
_WORDS = ("run", "size", "status")

_MOST_TEXT = 0.5
"""Share of words among a column's cells from which it is no column of numbers."""
_FEW_BUDGETS, _FEW_ROWS = 30, 3
"""More budgets, with fewer rows each on average, are the runs' own FLOPs: they have no curves."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """The arguments of `read_table` on the contents of a table."""

    columns: Mapping[str, str] | None
    vocabulary: float | None
    schedule: str | None
    planned: Sequence[RunSpec] | None = None
    """The plan of a table's runs, which fills in their params and tokens."""


@np.errstate(all="ignore")  # overflows are not finite, and are refused for it
def columns_of(source: Source, told: Given) -> tuple[TableColumns, tuple[Note, ...]]:
    """The needed columns of a table, and notes on how they were read."""
    columns = told.columns
    if not any(source.head.values()):
        raise DataError(
            f"A table must have at least one row of measurements, but {_short(source.name)} has "
            "none."
        )
    chosen = find_columns(source.head, columns, source.name)
    metrics = find_metrics(list(source.head), columns, source.name)
    names = [*(column.name for column in chosen.values()), *metrics.values()]
    sheet = source.sheet([*dict.fromkeys(names)])
    fields = {field: column for field, column in chosen.items() if field in _NUMBERS}
    signs, readings = decimal_signs(_number_columns(sheet, fields, metrics), sheet)
    read = {
        field: _numbers(sheet, column, field, signs[column.name])
        for field, column in fields.items()
    }
    given = {field: column.values for field, column in read.items()}
    plain = {
        field: fields[field].name
        for field in COUNTS
        if field in read and _is_plain(read[field], fields[field])
    }
    refuse_wrong_units(given, plain, source.name)
    numbers = completed(given)
    refuse_mixed_flops(numbers["flops"], numbers["params"], numbers["tokens"], sheet)
    if "compute_budget" in numbers:
        budgets = numbers.pop("compute_budget")
        joined = joined_budgets(budgets)
        if not _is_own(budgets, joined):
            numbers["compute_budget"] = joined
    decimal = signs[chosen["loss"].name]
    trained = {field: column for field, column in chosen.items() if field in SETTINGS}
    settings = settings_of(sheet, trained, numbers, decimal, told.schedule)
    errors = first_errors(
        {field: column for field, column in read.items() if field != "loss_stderr"}
    )
    tokens = vocabulary_of(sheet, trained, told.vocabulary, decimal)
    if tokens is not None:
        errors = worse_than_guessing(numbers["loss"], tokens, _short(source.name)) | errors
    table = TableColumns(
        numbers,
        {field: sheet.columns[column.name] for field, column in chosen.items() if field in _WORDS},
        {name: read_numbers(sheet.columns[own], decimal=signs[own], is_count=False).values
         for name, own in metrics.items()},
        errors,
        settings,
    )  # fmt: skip
    return table, (*source.notes, *_column_notes(chosen), *readings)


def _number_columns(
    sheet: Sheet, fields: Mapping[str, Column], metrics: Mapping[str, str]
) -> list[Numbers]:
    """The columns of numbers, before their notation is known."""
    of_fields = [
        Numbers(
            column.name,
            sheet.columns[column.name],
            field in COUNTS,
            column.stated or column.unit != 1,
        )
        for field, column in fields.items()
    ]
    return [
        *of_fields,
        *(Numbers(name, sheet.columns[name], False, False) for name in metrics.values()),
    ]


def _column_notes(chosen: Mapping[str, Column]) -> tuple[Note, ...]:
    readings = [reading for field, column in chosen.items() if (reading := column.note(field))]
    if not readings:
        return ()
    text = f"Columns of the table were read as follows: {', '.join(readings)}."
    return (Note("table-columns", text),)


def _is_own(budgets: Floats, joined: Floats) -> bool:
    """Whether the budgets are the runs' own FLOPs under another name.

    joined: the same, without differences by rounding.
    """
    known = budgets[np.isfinite(budgets)]
    number = len(np.unique(joined[np.isfinite(joined)]))
    return number > _FEW_BUDGETS and len(np.unique(known)) > len(known) / _FEW_ROWS


def _is_plain(read: Read, column: Column) -> bool:
    """Whether no unit is stated for a column of counts: by the user, its name, or a cell."""
    return not column.stated and column.unit == 1 and not read.own.any()


def _numbers(sheet: Sheet, column: Column, field: str, decimal: str) -> Read:
    """A column as numbers. Raises DataError where any of its numbers cannot be the field."""
    cells, name = sheet.columns[column.name], _short(column.name)
    read = read_numbers(cells, column.unit, decimal, is_count=field in COUNTS)
    values = read.values
    _refuse_text(sheet, column.name, read.is_text)
    if column.is_log:
        values = np.log(np.where(values > 0, values, np.nan))
    if column.is_rest:
        values = 1 - values
    if field in ("loss", "loss_stderr"):
        return replace(read, values=np.where(np.isfinite(values), values, np.nan))
    for index in np.flatnonzero((values <= 0) | np.isinf(values)).tolist():
        raise DataError(
            f"{name} must be a finite number above 0, but {sheet.row(index)} has "
            f"{_short(cells[index], 20)}; correct that row or take it out."
        )
    if field != "compute_budget" and np.isnan(values).all():
        raise DataError(
            f"{name} must hold numbers, but it is empty in every row of {_short(sheet.source)}."
        )
    if column.unit != 1:
        refuse_too_large(values, field, column.name, column.unit, sheet, stated=column.stated)
    if field in ("params", "tokens"):
        refuse_mixed_units(values, column.name, sheet)
    return read


def _refuse_text(sheet: Sheet, name: str, is_text: npt.NDArray[np.bool_]) -> None:
    if is_text.sum() < max(_MOST_TEXT * len(is_text), 1):
        return
    index = int(np.argmax(is_text))
    cell = quoted(str(sheet.columns[name][index]), 30)
    raise DataError(
        f"{_short(name)} must hold numbers, but {sheet.row(index)} has {cell}"
        f"{_as_others(int(is_text.sum()))}; write numbers as in 1.3e9 or 1.3B, or name another "
        "column."
    )


def _as_others(number: int) -> str:
    if number > 2:
        return f" and {number - 1} more rows have text"
    return " and another row has text" if number == 2 else ""


def _short(words: object, most: int = 40) -> str:
    return one_line(words, most)
