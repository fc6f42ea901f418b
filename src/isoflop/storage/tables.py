"""read_runs(): a store, a table on disk, a data frame or runs themselves, as runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.runs import Run, tasks_of, tasks_text
from isoflop.storage.columns import Column, find_columns, find_metrics
from isoflop.storage.counts import completed, refuse_wrong_units
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.notation import Numbers, decimal_signs
from isoflop.storage.numbers import Read, read_numbers
from isoflop.storage.rows import TableColumns, first_errors, runs_of
from isoflop.storage.sheet import Sheet, Source, is_frame, open_sheet, source_of_frame
from isoflop.storage.store import Store
from isoflop.storage.units import COUNTS, refuse_mixed_flops, refuse_mixed_units, refuse_too_large
from isoflop.storage.unreadable import Unreadable

__all__ = ["Readings", "read_runs", "read_table", "table_notes"]

_NUMBERS = ("params", "tokens", "flops", "loss", "compute_budget", "loss_stderr")
_WORDS = ("run", "size", "status")

_MOST_TEXT = 0.5
"""Share of a column's cells that may be words; with more it is no column of numbers."""
_FEW_BUDGETS, _FEW_ROWS = 30, 3
"""More budgets than this, with fewer rows each on average, are the runs' own FLOPs: no curve runs through one."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """Runs, and what was understood of a table beyond its plain words."""

    runs: list[Run]
    notes: tuple[str, ...] = ()


def read_runs(
    source: str | os.PathLike[str] | Store | Sequence[Run] | Any,
    *,
    columns: Mapping[str, str] | None = None,
    fingerprint: str | None = None,
) -> list[Run]:
    """The runs of a store's folder, a CSV, TSV or parquet file, or a pandas DataFrame; one row is one run.

    Columns are `params`, `tokens`, `flops`, `loss` and, where there are any, `compute_budget`, `run`, `loss_stderr`,
    `size` and `status`, or their usual other names (N, D, C, `num_params`, `val_loss`, `budget`, ...); `columns` maps
    these to the table's own names, with a factor where numbers are in a unit: `columns={"loss": "eval/nll",
    "params": "size_m * 1e6"}`, or as the logarithm of a perplexity: `{"loss": "log(ppl)"}`. Units that stand in a cell
    (350M) or a name (tokens_B) are understood, and counts that only another unit explains are refused; a factor that is
    given, also `* 1`, is taken at its word. FLOPs default to 6·N·D, tokens to FLOPs/(6·N). `run` becomes `Run.group`.
    An empty `compute_budget` is no budget, and neither is one that nearly every row has for itself; a loss that is no
    finite number becomes NaN, and a row with words where a number belongs is a run that failed. Other names in
    `columns`, as in `{"accuracy": "eval/acc"}`, become `Run.metrics`.

    fingerprint: of the task whose runs are wanted, `isoflop.fingerprint(task)`, from a store that has those of several.

    Raises DataError where the table cannot be read without guessing or no run is of that task, StoreError where there
    is no such file.
    """
    runs = read_table(source, columns=columns).runs
    return (
        runs
        if fingerprint is None
        else _of_task(runs, arguments.word(fingerprint, "read_runs: fingerprint"))
    )


def _of_task(runs: list[Run], fingerprint: str) -> list[Run]:
    own = [run for run in runs if run.spec.fingerprint == fingerprint]
    if not own:
        others = tasks_text(tasks_of(runs)) or "no runs with a fingerprint"
        raise DataError(
            f"There must be runs of the task {fingerprint}, but there are {others}; train it first."
        )
    return [
        *own,
        *(run for run in runs if isinstance(run, Unreadable) and not run.spec.fingerprint),
    ]


def read_table(
    source: str | os.PathLike[str] | Store | Sequence[Run] | Any,
    *,
    columns: Mapping[str, str] | None = None,
) -> Readings:
    """The same with what was understood of the table, as notes."""
    columns = None if columns is None else _own_names(columns)
    if isinstance(source, str | os.PathLike):
        path = Path(arguments.a_path(source, "read_runs: source"))
        return (
            Readings(_runs_of_store(path))
            if os.path.isdir(path)
            else _table(open_sheet(path), columns)
        )
    if isinstance(source, Store):
        return Readings(source.read_runs())
    if is_frame(source):
        return _table(source_of_frame(source), columns)
    if isinstance(source, Sequence) and all(isinstance(run, Run) for run in source):
        return Readings([*source])
    raise DataError(
        f"read_runs() takes a store's folder, a CSV, TSV or parquet file, a pandas DataFrame or runs, but got "
        f"{type(source).__name__}."
    )


def _own_names(columns: Any) -> Mapping[str, str]:
    """What `columns` maps. Raises DataError where it is no dict of names."""
    must = 'a dict, field -> name of a column, such as {"loss": "eval/nll"}'
    given = arguments.mapping(columns, "read_runs: columns", must)
    for field, column in given.items():
        if not (isinstance(field, str) and isinstance(column, str)):
            raise arguments.refused(
                column, f"read_runs: columns[{quoted(field, 40)}]", "the name of a column"
            )
    return given


def table_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to know about the numbers of a table before trusting a fit to them."""
    ratios = [
        run.flops / (6 * run.num_params * run.num_tokens)
        for run in runs
        if run.status == "completed"
    ]
    if not ratios:
        return ()
    if np.allclose(ratios, 1, rtol=1e-9):
        return (
            "FLOPs are 6·N·D in every row: attention and other work beyond the weights is not counted.",
        )
    middle = float(np.median(ratios))
    # Shared experts, and images that count as one token, stay well inside; millions for units do not.
    if not 1e-3 < middle < 1e5:
        return (
            f"FLOPs are {middle:.2g} times 6·N·D at the median: check the units of params, tokens and FLOPs.",
        )
    return ()


def _runs_of_store(path: Path) -> list[Run]:
    runs = DirectoryStore(path).read_runs()
    if not runs:
        raise DataError(
            f"{path} holds no finished runs; name the folder that train(store=...) wrote, or a CSV file."
        )
    return runs


def _table(source: Source, columns: Mapping[str, str] | None) -> Readings:
    table, notes = _columns(source, columns)
    return Readings(runs_of(table), notes)


@np.errstate(all="ignore")  # what overflows is not finite, and refused or set aside for it
def _columns(
    source: Source, columns: Mapping[str, str] | None
) -> tuple[TableColumns, tuple[str, ...]]:
    """What stands in the columns of a table that are needed, and what was understood of them."""
    if not any(source.head.values()):
        raise DataError(
            f"A table must have at least one row of measurements, but {_short(source.name)} has none."
        )
    found = find_columns(source.head, columns, source.name)
    metrics = find_metrics(list(source.head), columns, source.name)
    sheet = source.sheet(
        [*dict.fromkeys([*(column.name for column in found.values()), *metrics.values()])]
    )
    fields = {field: column for field, column in found.items() if field in _NUMBERS}
    signs, readings = decimal_signs(_written(sheet, fields, metrics), sheet)
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
    if "compute_budget" in numbers and _is_own(numbers["compute_budget"]):
        del numbers["compute_budget"]
    table = TableColumns(
        numbers,
        {field: sheet.columns[column.name] for field, column in found.items() if field in _WORDS},
        {name: read_numbers(sheet.columns[own], decimal=signs[own], is_count=False).values
         for name, own in metrics.items()},
        first_errors({field: column for field, column in read.items() if field != "loss_stderr"}),
    )  # fmt: skip
    return table, (*_column_notes(found), *readings)


def _written(
    sheet: Sheet, fields: Mapping[str, Column], metrics: Mapping[str, str]
) -> list[Numbers]:
    """The columns of numbers, as they are written."""
    counts = [
        Numbers(
            column.name,
            sheet.columns[column.name],
            field in COUNTS,
            column.stated or column.unit != 1,
        )
        for field, column in fields.items()
    ]
    return [
        *counts,
        *(Numbers(name, sheet.columns[name], False, False) for name in metrics.values()),
    ]


def _column_notes(found: Mapping[str, Column]) -> tuple[str, ...]:
    told = [note for field, column in found.items() if (note := column.note(field))]
    return (f"Columns of the table were read so: {', '.join(told)}.",) if told else ()


def _is_own(budgets: Floats) -> bool:
    """Whether the budgets are the runs' own FLOPs under another name."""
    known = budgets[np.isfinite(budgets)]
    number = len(np.unique(known))
    return number > max(_FEW_BUDGETS, len(known) / _FEW_ROWS)


def _is_plain(read: Read, column: Column) -> bool:
    """Whether nothing says a unit of a column of counts: neither the user, nor its name, nor a cell."""
    return not column.stated and column.unit == 1 and not read.own.any()


def _numbers(sheet: Sheet, column: Column, field: str, decimal: str) -> Read:
    """A column as numbers. Raises DataError where the column, or one of its numbers, cannot be the field."""
    cells, name = sheet.columns[column.name], _short(column.name)
    read = read_numbers(cells, column.unit, decimal, is_count=field in COUNTS)
    values = read.values
    _refuse_text(sheet, column.name, read.is_text)
    if column.is_log:
        values = np.log(np.where(values > 0, values, np.nan))
    if field in ("loss", "loss_stderr"):
        return replace(read, values=np.where(np.isfinite(values), values, np.nan))
    for index in np.flatnonzero((values <= 0) | np.isinf(values)).tolist():
        raise DataError(
            f"{name} must be a finite number above 0, but {sheet.row(index)} has {_short(cells[index], 20)}; "
            f"correct that row or take it out."
        )
    if field != "compute_budget" and np.isnan(values).all():
        raise DataError(
            f"{name} must hold numbers, but it is empty in every row of {_short(sheet.source)}."
        )
    if column.unit != 1:
        refuse_too_large(values, field, column.name, column.unit, sheet)
    if field in ("params", "tokens"):
        refuse_mixed_units(values, column.name, sheet)
    return read


def _refuse_text(sheet: Sheet, name: str, is_text: npt.NDArray[np.bool_]) -> None:
    if is_text.sum() < max(_MOST_TEXT * len(is_text), 1):
        return
    index = int(np.argmax(is_text))
    raise DataError(
        f"{_short(name)} must hold numbers, but {sheet.row(index)} has {quoted(str(sheet.columns[name][index]), 30)}"
        f"{_as_others(int(is_text.sum()))}; write numbers as in 1.3e9 or 1.3B, or name another column."
    )


def _as_others(number: int) -> str:
    return (
        f" and {number - 1} more rows have text"
        if number > 2
        else " and another row has text"
        if number == 2
        else ""
    )


def _short(words: object, most: int = 40) -> str:
    return one_line(words, most)
