"""read_runs(): runs from a store, a table, a tracker's log, a data frame or a list of runs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec, tasks_of, tasks_text
from isoflop.storage.columns import Column, find_columns, find_metrics
from isoflop.storage.counts import PER_6ND, completed, refuse_wrong_units
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.joining import joined_to
from isoflop.storage.notation import Numbers, decimal_signs
from isoflop.storage.numbers import Read, read_numbers
from isoflop.storage.readers.excel import EXCEL, source_of_workbook
from isoflop.storage.readers.logs import Log
from isoflop.storage.readers.open_log import open_log, parted_path
from isoflop.storage.rows import TableColumns, first_errors, runs_of_table
from isoflop.storage.sheet import Sheet, Source, is_frame, open_sheet, source_of_frame
from isoflop.storage.store import RecordStore
from isoflop.storage.units import COUNTS, refuse_mixed_flops, refuse_mixed_units, refuse_too_large
from isoflop.storage.unreadable import Unreadable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Readings", "read_runs", "read_table", "table_notes"]

_NUMBERS = ("params", "tokens", "flops", "loss", "compute_budget", "loss_stderr")
_WORDS = ("run", "size", "status")

_MOST_TEXT = 0.5
"""Share of words among a column's cells from which it is no column of numbers."""
_FEW_BUDGETS, _FEW_ROWS = 30, 3
"""More budgets, with fewer rows each on average, are the runs' own FLOPs: they have no curves."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """Runs of a source, and notes on how its table was read."""

    runs: list[Run]
    notes: tuple[Note, ...] = ()
    is_store: bool = False
    """Whether isoflop trained the runs, so that their FLOPs are counted ones."""
    table: Source | None = None
    """The table that was read; None for a store, or runs as they are."""


def read_runs(
    source: "str | os.PathLike[str] | RecordStore | Sequence[Run] | pd.DataFrame",
    *,
    columns: Mapping[str, str] | None = None,
    fingerprint: str | None = None,
    specs: Iterable[RunSpec] | None = None,
) -> list[Run]:
    """The runs of a store's folder, a table on disk, a tracker's log, or a pandas DataFrame.

    Tables are CSV, TSV, Excel and parquet files. Logs are those of Weights & Biases (the folder
    `wandb`, or `wandb:entity/project`), MLflow (an SQLite file, `mlruns`, or `mlflow:http://...`),
    TensorBoard, Hugging Face's Trainer, Lightning's CSVLogger, and JSON lines. A setting of a log
    is a column `config.<name>`; what was logged keeps its name, and its last value is the run's.
    Runs that crashed are failed ones, parts of a resumed run are joined, and logged tokens and
    training losses become `Run.curve`. `path#project` selects one of several projects.

    Each row of a table is one run. Its columns are `params`, `tokens`, `flops`, `loss`, and
    optionally `compute_budget`, `run`, `loss_stderr`, `size` and `status`, or other usual names of
    these (N, D, C, `num_params`, `val_loss`, `budget`, ...).

    Units in a cell (350M) or in a name (tokens_B) are applied; counts that only another unit
    explains are refused. FLOPs default to 6·N·D, tokens to FLOPs/(6·N). `run` becomes `Run.group`.
    An empty `compute_budget` is no budget, nor is one that differs in nearly every row. A loss that
    is no finite number becomes NaN, and a row with words in place of a number is a failed run.

    source: a path, a data frame, a store, or runs, which come back as they are.
    columns: field -> name of a column, with a factor where numbers are in a unit, or as the
        logarithm of a perplexity: `{"loss": "eval/nll", "params": "size_m * 1e6"}`,
        `{"loss": "log(ppl)"}`. A given factor, `* 1` included, replaces the unit of the name and is
        refused only where it makes a count impossible. Other names than fields, as in
        `{"accuracy": "eval/acc"}`, become `Run.metrics`.
    fingerprint: of a task, `isoflop.fingerprint(task)`, to select its runs from a store with the
        runs of several tasks.
    specs: the plan of a table's runs, a `Sweep` or its specs. Rows are joined to them by their
        column `id`, as `Sweep.to_csv` writes it.

    Raises DataError where the table cannot be read without guessing, or has no run of that task;
    StoreError where the file does not exist.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"N": ["350M", "1.3B"], "D": ["7B", "26B"], "val_loss": [3.1, 2.7]})
    >>> [f"{run.num_params:.3g} params, {run.flops:.3g} FLOPs" for run in read_runs(table)]
    ['3.5e+08 params, 1.47e+19 FLOPs', '1.3e+09 params, 2.03e+20 FLOPs']
    """
    read = read_table(source, columns=columns)
    runs = read.runs
    if specs is not None:
        runs = joined_to(getattr(specs, "specs", specs), source, read.table, runs)
    if fingerprint is None:
        return runs
    return _of_task(runs, arguments.word(fingerprint, "read_runs: fingerprint"))


def _of_task(runs: list[Run], fingerprint: str) -> list[Run]:
    own = [run for run in runs if run.spec.fingerprint == fingerprint]
    if not own:
        others = tasks_text(tasks_of(runs)) or "no runs with a fingerprint"
        raise DataError(
            f"The source must have runs of the task {fingerprint}, but it has {others}; train it "
            "first."
        )
    unknown = [run for run in runs if isinstance(run, Unreadable) and not run.spec.fingerprint]
    return [*own, *unknown]


def read_table(
    source: "str | os.PathLike[str] | RecordStore | Sequence[Run] | pd.DataFrame",
    *,
    columns: Mapping[str, str] | None = None,
) -> Readings:
    """`read_runs` with notes on how the table was read."""
    columns = None if columns is None else _checked(columns)
    if isinstance(source, str | os.PathLike):
        return _of_path(arguments.a_path(source, "read_runs: source"), columns)
    if isinstance(source, RecordStore):
        return Readings(source.read_runs(), is_store=True)
    if is_frame(source):
        return _table(source_of_frame(source), columns)
    if isinstance(source, Sequence) and all(isinstance(run, Run) for run in source):
        return Readings([*source])
    raise DataError(
        "read_runs() takes a store's folder, a table's file, a tracker's log, a pandas DataFrame "
        f"or runs, but got {type(source).__name__}."
    )


def _of_path(source: str, columns: Mapping[str, str] | None) -> Readings:
    log = open_log(source, columns or {})
    if log is not None:
        return _of_log(log, columns)
    if os.path.isdir(source):
        return Readings(_runs_of_store(Path(source)), is_store=True)
    path, sheet = parted_path(source)
    if path.lower().endswith(EXCEL) and os.path.isfile(path):
        return _table(source_of_workbook(Path(path), sheet), columns)
    return _table(open_sheet(Path(source)), columns)


def _of_log(log: Log, columns: Mapping[str, str] | None) -> Readings:
    """Runs of a tracker's log, by way of a table with a row for each."""
    named = log.columns(columns)
    chosen = find_columns(log.cells, named, log.name)
    table = _table(log.table(chosen), named)
    runs, notes = log.completed(table.runs, chosen, named)
    return replace(table, runs=runs, notes=(*table.notes, *notes))


def _checked(columns: object) -> Mapping[str, str]:
    """The argument `columns`. Raises DataError where it is no mapping of names."""
    must = 'a dict, field -> name of a column, such as {"loss": "eval/nll"}'
    given = arguments.mapping(columns, "read_runs: columns", must)
    for field, column in given.items():
        if not (isinstance(field, str) and isinstance(column, str)):
            raise arguments.refused(
                column, f"read_runs: columns[{quoted(field, 40)}]", "the name of a column"
            )
    return given


def table_notes(runs: Sequence[Run]) -> tuple[Note, ...]:
    """Notes on the FLOPs of a table that matter for a fit to its runs."""
    ratios = [
        run.flops / (6 * run.num_params * run.num_tokens)
        for run in runs
        if run.status == "completed"
    ]
    if not ratios:
        return ()
    if np.allclose(ratios, 1, rtol=1e-9):
        text = (
            "FLOPs are 6·N·D in every row: attention and other work beyond the weights is not "
            "counted."
        )
        return (Note("table-6nd", text),)
    middle = float(np.median(ratios))
    low, high = PER_6ND
    if low < middle < high:
        return ()
    ratio = f"FLOPs are {middle:.2g} times 6·N·D at the median"
    return (Note("table-units", f"{ratio}: check the units of params, tokens and FLOPs."),)


def _runs_of_store(path: Path) -> list[Run]:
    runs = DirectoryStore(path).read_runs()
    if not runs:
        raise DataError(
            f"{one_line(path, 100)} holds no finished runs; name the folder that train(store=...) "
            "wrote, a tracker's folder, or a CSV file."
        )
    return runs


def _table(source: Source, columns: Mapping[str, str] | None) -> Readings:
    table, notes = _columns(source, columns)
    return Readings(runs_of_table(table), notes, table=source)


@np.errstate(all="ignore")  # overflows are not finite, and are refused for it
def _columns(
    source: Source, columns: Mapping[str, str] | None
) -> tuple[TableColumns, tuple[Note, ...]]:
    """The needed columns of a table, and notes on how they were read."""
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
    if "compute_budget" in numbers and _is_own(numbers["compute_budget"]):
        del numbers["compute_budget"]
    table = TableColumns(
        numbers,
        {field: sheet.columns[column.name] for field, column in chosen.items() if field in _WORDS},
        {name: read_numbers(sheet.columns[own], decimal=signs[own], is_count=False).values
         for name, own in metrics.items()},
        first_errors({field: column for field, column in read.items() if field != "loss_stderr"}),
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


def _is_own(budgets: Floats) -> bool:
    """Whether the budgets are the runs' own FLOPs under another name."""
    known = budgets[np.isfinite(budgets)]
    number = len(np.unique(known))
    return number > max(_FEW_BUDGETS, len(known) / _FEW_ROWS)


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
