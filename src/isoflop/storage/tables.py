"""read_runs(): a store, a table on disk, a data frame or runs themselves, as runs."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isoflop.errors import DataError
from isoflop.runs import Run, RunSpec, SizeValue, Status
from isoflop.storage.columns import find_columns
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.sheet import Sheet, is_frame, read_sheet, sheet_of_frame
from isoflop.storage.store import Store

__all__ = ["read_runs", "table_notes"]

_NUMBERS = ("params", "tokens", "flops", "loss", "compute_budget", "loss_stderr")
_WORDS = ("run", "size", "status")
# Words for a run that ended as planned, by what trackers call it; every other state is a run that failed.
_COMPLETED = ("", "completed", "finished", "success", "done")
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "-")

Floats = npt.NDArray[np.float64]


def read_runs(
    source: str | os.PathLike[str] | Store | Sequence[Run] | Any, *, columns: Mapping[str, str] | None = None
) -> list[Run]:
    """The runs of a store's folder, a CSV, TSV or parquet file, or a pandas DataFrame; one row is one run.

    Columns are `params`, `tokens`, `flops`, `loss` and, where there are any, `compute_budget`, `run`, `loss_stderr`,
    `size` and `status`, or their usual other names (N, D, C, `num_params`, `val_loss`, `budget`, ...); `columns` maps
    these to the table's own names: `columns={"loss": "eval/nll"}`. FLOPs default to 6·N·D, tokens to FLOPs/(6·N).
    `run` becomes `Run.group`. An empty `compute_budget` is no budget; a loss that is no finite number becomes NaN.

    Raises DataError where the table cannot be read without guessing, StoreError where there is no such file.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return _runs_of_store(path) if path.is_dir() else _runs_of_sheet(read_sheet(path), columns)
    if isinstance(source, Store):
        return source.read_runs()
    if is_frame(source):
        return _runs_of_sheet(sheet_of_frame(source), columns)
    if isinstance(source, Sequence) and all(isinstance(run, Run) for run in source):
        return list(source)
    raise DataError(
        f"read_runs() takes a store's folder, a CSV, TSV or parquet file, a pandas DataFrame or runs, but got "
        f"{type(source).__name__}."
    )


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


def _runs_of_sheet(sheet: Sheet, columns: Mapping[str, str] | None) -> list[Run]:
    if len(sheet.rows) == 0:
        raise DataError(f"A table must have at least one row of measurements, but {sheet.source} has none.")
    found = find_columns(list(sheet.columns), columns, sheet.source)
    numbers = {field: _numbers(sheet, column, field) for field, column in found.items() if field in _NUMBERS}
    words = {field: sheet.columns[column] for field, column in found.items() if field in _WORDS}
    listed: dict[str, Sequence[Any]] = {field: values.tolist() for field, values in _completed(numbers).items()}
    cells = {**listed, **words}
    return [_run(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]


def _completed(numbers: Mapping[str, Floats]) -> dict[str, Floats]:
    """The same columns with params, tokens and FLOPs; what the table leaves out follows from C = 6·N·D."""
    params = numbers["params"]
    if "tokens" in numbers:
        tokens = numbers["tokens"]
        flops = numbers.get("flops", 6 * params * tokens)
    else:
        flops = numbers["flops"] if "flops" in numbers else numbers["compute_budget"]
        tokens = flops / (6 * params)
    return {**numbers, "tokens": tokens, "flops": flops}


def _numbers(sheet: Sheet, column: str, field: str) -> Floats:
    """A column as float64, NaN where a cell is empty. Raises DataError at the first cell that cannot be the field."""
    values = np.array([_number(cell, sheet, column, index) for index, cell in enumerate(sheet.columns[column])])
    if field in ("loss", "loss_stderr"):
        return np.where(np.isfinite(values), values, np.nan)
    for index in np.flatnonzero((values <= 0) | np.isinf(values)).tolist():
        raise DataError(
            f"{column} must be a finite number above 0, but {sheet.row(index)} has {sheet.columns[column][index]}; "
            f"correct that row or take it out."
        )
    if field != "compute_budget" and np.isnan(values).all():
        raise DataError(f"{column} must hold numbers, but it is empty in every row of {sheet.source}.")
    return values


def _number(cell: Any, sheet: Sheet, column: str, index: int) -> float:
    try:
        return float(cell)  # exact: no digit of the text is lost
    except (TypeError, ValueError):
        if cell is None or str(cell).strip().lower() in _EMPTY:
            return math.nan
    raise DataError(
        f"{column} must be a number, but {sheet.row(index)} has {str(cell)!r}; write it as in 1.3e9, or take that row "
        f"out."
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
    status, error = _outcome(row.get("status"), math.isnan(params + tokens + flops))
    return Run(
        spec=spec,
        status=status,
        loss=row["loss"],
        loss_stderr=_given(row.get("loss_stderr")),
        num_tokens=tokens,
        flops=flops,
        error=error,
        group=str(row["run"]) if row.get("run") not in (None, "") else None,
    )


def _outcome(state: Any, incomplete: bool) -> tuple[Status, str | None]:
    """Status and error of a row; one that a tracker calls crashed or running did not complete."""
    word = str(state or "").strip().lower()
    if word == "diverged":
        return "diverged", "it diverged"
    if word not in _COMPLETED:
        return "failed", f"its state is {word!r}"
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
