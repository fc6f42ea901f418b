"""read_runs(): a store, a table on disk, a data frame or runs themselves, as runs."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isoflop import arguments
from isoflop.errors import DataError
from isoflop.runs import Run, RunSpec, SizeValue, Status, tasks_of, tasks_text
from isoflop.storage.columns import Column, find_columns, find_metrics
from isoflop.storage.counts import completed, refuse_wrong_units
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.sheet import Sheet, is_frame, read_sheet, sheet_of_frame
from isoflop.storage.store import Store
from isoflop.storage.units import COUNTS, number_of, refuse_mixed_flops, refuse_mixed_units, refuse_too_large
from isoflop.text import quoted

__all__ = ["Readings", "read_runs", "read_table", "table_notes"]

_NUMBERS = ("params", "tokens", "flops", "loss", "compute_budget", "loss_stderr")
_WORDS = ("run", "size", "status")
# Words for a run that ended as planned, by what trackers call it; every other state is a run that failed.
_COMPLETED = ("", "completed", "finished", "success", "done")
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "-")

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
    return runs if fingerprint is None else _of_task(runs, arguments.word(fingerprint, "read_runs: fingerprint"))


def _of_task(runs: list[Run], fingerprint: str) -> list[Run]:
    own = [run for run in runs if run.spec.fingerprint == fingerprint]
    if not own:
        others = tasks_text(tasks_of(runs)) or "no runs with a fingerprint"
        raise DataError(f"There must be runs of the task {fingerprint}, but there are {others}; train it first.")
    return own


def read_table(
    source: str | os.PathLike[str] | Store | Sequence[Run] | Any, *, columns: Mapping[str, str] | None = None
) -> Readings:
    """The same with what was understood of the table, as notes."""
    columns = None if columns is None else _own_names(columns)
    if isinstance(source, str | os.PathLike):
        path = Path(arguments.a_path(source, "read_runs: source"))
        return Readings(_runs_of_store(path)) if path.is_dir() else _table_of_sheet(read_sheet(path), columns)
    if isinstance(source, Store):
        return Readings(source.read_runs())
    if is_frame(source):
        return _table_of_sheet(sheet_of_frame(source), columns)
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
            raise arguments.refused(column, f"read_runs: columns[{quoted(field, 40)}]", "the name of a column")
    return given


def table_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to know about the numbers of a table before trusting a fit to them."""
    ratios = [run.flops / (6 * run.num_params * run.num_tokens) for run in runs if run.status == "completed"]
    if not ratios:
        return ()
    if np.allclose(ratios, 1, rtol=1e-9):
        return ("FLOPs are 6·N·D in every row: attention and other work beyond the weights is not counted.",)
    middle = float(np.median(ratios))
    # Shared experts, and images that count as one token, stay well inside; millions for units do not.
    if not 1e-3 < middle < 1e5:
        return (f"FLOPs are {middle:.2g} times 6·N·D at the median: check the units of params, tokens and FLOPs.",)
    return ()


def _runs_of_store(path: Path) -> list[Run]:
    runs = DirectoryStore(path).read_runs()
    if not runs:
        raise DataError(f"{path} holds no finished runs; name the folder that train(store=...) wrote, or a CSV file.")
    return runs


def _table_of_sheet(sheet: Sheet, columns: Mapping[str, str] | None) -> Readings:
    if len(sheet.rows) == 0:
        raise DataError(f"A table must have at least one row of measurements, but {sheet.source} has none.")
    found = find_columns(sheet.columns, columns, sheet.source)
    read = {field: _numbers(sheet, column, field) for field, column in found.items() if field in _NUMBERS}
    given = {field: values for field, (values, _) in read.items()}
    plain = {field: column.name for field, column in found.items() if field in COUNTS and _is_plain(sheet, column)}
    refuse_wrong_units(given, plain, sheet.source)
    numbers = completed(given)
    refuse_mixed_flops(numbers["flops"], numbers["params"], numbers["tokens"], sheet)
    words = {field: sheet.columns[column.name] for field, column in found.items() if field in _WORDS}
    cells: dict[str, Sequence[Any]] = {**{field: values.tolist() for field, values in numbers.items()}, **words}
    cells["text"] = _text_errors(
        {field: text for field, (_, text) in read.items() if field != "loss_stderr"}, len(sheet.rows)
    )
    cells["metrics"] = _metrics(sheet, find_metrics(list(sheet.columns), columns, sheet.source))
    if "compute_budget" in numbers and _is_own(numbers["compute_budget"]):
        del cells["compute_budget"]
    runs = [_run(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]
    return Readings(runs, _column_notes(found))


def _metrics(sheet: Sheet, columns: Mapping[str, str]) -> list[dict[str, float]]:
    """Metrics of each row, without those whose cell is empty or no number."""
    read = {name: _cells(sheet.columns[column], Column(column), name)[0] for name, column in columns.items()}
    rows = range(len(sheet.rows))
    return [{name: float(values[row]) for name, values in read.items() if np.isfinite(values[row])} for row in rows]


def _column_notes(found: Mapping[str, Column]) -> tuple[str, ...]:
    told = [note for field, column in found.items() if (note := column.note(field))]
    return (f"Columns of the table were read so: {', '.join(told)}.",) if told else ()


def _is_own(budgets: Floats) -> bool:
    """Whether the budgets are the runs' own FLOPs under another name."""
    known = budgets[np.isfinite(budgets)]
    number = len(np.unique(known))
    return number > max(_FEW_BUDGETS, len(known) / _FEW_ROWS)


def _text_errors(is_text: Mapping[str, npt.NDArray[np.bool_]], number: int) -> list[str | None]:
    """Why each row cannot be a run, where words stand for its numbers."""
    errors: list[str | None] = [None] * number
    for field, rows in is_text.items():
        for index in np.flatnonzero(rows).tolist():
            errors[index] = errors[index] or f"the table has text for its {field}"
    return errors


def _is_plain(sheet: Sheet, column: Column) -> bool:
    """Whether nothing says a unit of a column of counts: neither the user, nor its name, nor a cell."""
    if column.stated or column.unit != 1:
        return False
    read = (number_of(cell, count=True) for cell in sheet.columns[column.name])
    return not any(found is not None and found[1] for found in read)


def _numbers(sheet: Sheet, column: Column, field: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """A column as float64, NaN where a cell is empty or text, and which cells are text.

    Raises DataError where the column, or one of its numbers, cannot be the field.
    """
    cells = sheet.columns[column.name]
    values, is_text = _cells(cells, column, field)
    _refuse_text(sheet, column.name, is_text)
    if column.is_log:
        values = np.log(np.where(values > 0, values, np.nan))
    if field in ("loss", "loss_stderr"):
        return np.where(np.isfinite(values), values, np.nan), is_text
    for index in np.flatnonzero((values <= 0) | np.isinf(values)).tolist():
        raise DataError(
            f"{column.name} must be a finite number above 0, but {sheet.row(index)} has {cells[index]}; "
            f"correct that row or take it out."
        )
    if field != "compute_budget" and np.isnan(values).all():
        raise DataError(f"{column.name} must hold numbers, but it is empty in every row of {sheet.source}.")
    if not column.stated and column.unit != 1:
        refuse_too_large(values, field, column.name, column.unit)
    if field in ("params", "tokens"):
        refuse_mixed_units(values, column.name, sheet)
    return values, is_text


def _cells(cells: Sequence[Any], column: Column, field: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Cells as numbers in units of one, and which of them are text."""
    values, is_text = np.full(len(cells), np.nan), np.zeros(len(cells), dtype=bool)
    for index, cell in enumerate(cells):
        found = number_of(cell, count=field in COUNTS)
        if found is not None:
            values[index] = found[0] if found[1] else found[0] * column.unit
        elif cell is not None and str(cell).strip().lower() not in _EMPTY:
            is_text[index] = True
    return values, is_text


def _refuse_text(sheet: Sheet, name: str, is_text: npt.NDArray[np.bool_]) -> None:
    if is_text.sum() < max(_MOST_TEXT * len(is_text), 1):
        return
    index = int(np.argmax(is_text))
    raise DataError(
        f"{name} must hold numbers, but {sheet.row(index)} has {str(sheet.columns[name][index])!r}"
        f"{_as_others(int(is_text.sum()))}; write numbers as in 1.3e9 or 1.3B, or name another column."
    )


def _as_others(number: int) -> str:
    return (
        f" and {number - 1} more rows have text" if number > 2 else " and another row has text" if number == 2 else ""
    )


def _run(row: Mapping[str, Any]) -> Run:
    params, tokens, flops = row["params"], row["tokens"], row["flops"]
    spec = RunSpec(
        num_params=params,
        num_tokens=tokens,
        flops=flops,
        budget=_given(row.get("compute_budget")),
        size=_size(row.get("size")),
    )
    status, error = _outcome(row.get("status"), row["text"], math.isnan(params + tokens + flops))
    return Run(
        spec=spec,
        status=status,
        loss=row["loss"],
        loss_stderr=_given(row.get("loss_stderr")),
        metrics=row["metrics"],
        num_tokens=tokens,
        flops=flops,
        error=error,
        group=str(row["run"]) if row.get("run") not in (None, "") else None,
    )


def _outcome(state: Any, text: str | None, incomplete: bool) -> tuple[Status, str | None]:
    """Status and error of a row; one that a tracker calls crashed or running did not complete."""
    word = str(state or "").strip().lower()
    if word == "diverged":
        return "diverged", "it diverged"
    if word not in _COMPLETED:
        return "failed", f"its state is {word!r}"
    if text is not None:
        return "failed", text
    return ("failed", "the table leaves out its params, tokens or FLOPs") if incomplete else ("completed", None)


def _given(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _size(cell: Any) -> SizeValue | None:
    """A size as the number it is, or as text."""
    if cell in (None, ""):
        return None
    try:
        number = float(cell)
    except ValueError:
        return str(cell)
    return int(number) if number.is_integer() else number
