"""Rows of a table's columns as runs."""

import gc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line
from isoflop.runs import Run, RunSpec, SizeValue, Status
from isoflop.storage.numbers import Read
from isoflop.storage.settings import RowSettings, Setting

__all__ = ["TableColumns", "first_errors", "runs_of_table"]

Floats = npt.NDArray[np.float64]

# States of trackers for a run that completed; every other state is a failed run.
_COMPLETED = ("", "completed", "finished", "success", "done")
_NOTHING: dict[str, int] = {}
_NO_METRICS: dict[str, float] = {}
_NO_VERSIONS: dict[str, str] = {}
_NO_SETTINGS: dict[str, Setting] = {}
"""Shared by all runs of tables: a million empty ones would take 200 MB."""
PART = 50_000
"""Rows converted to numbers of Python at a time, besides those of the runs themselves."""


@dataclass(frozen=True)
class TableColumns:
    """Contents of a table, column by column."""

    numbers: Mapping[str, Floats]
    """By field; params, tokens, flops and loss at least."""
    words: Mapping[str, Sequence[object]]
    """Cells of run, size and status, where the table has them."""
    metrics: Mapping[str, Floats]
    errors: Mapping[int, str]
    """Row -> reason why it is no run, for rows with words in place of numbers."""
    settings: RowSettings | None = None
    """How each run was trained, where the table says it."""


def runs_of_table(table: TableColumns) -> list[Run]:
    """One run per row."""
    rows = len(table.numbers["loss"])
    with nullcontext() if rows <= PART else _no_collection():
        return [
            run
            for start in range(0, rows, PART)
            for run in _part(table, start, min(start + PART, rows))
        ]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause garbage collection, which takes a third of the time of building very many runs."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _part(table: TableColumns, start: int, stop: int) -> Iterator[Run]:
    return map(
        _run,
        *(
            table.numbers[field][start:stop].tolist()
            for field in ("params", "tokens", "flops", "loss")
        ),
        *(
            _optional(table.numbers.get(field), start, stop)
            for field in ("compute_budget", "loss_stderr")
        ),
        *(
            table.words[field][start:stop] if field in table.words else repeat(None)
            for field in ("run", "size")
        ),
        _outcomes(table, start, stop),
        _metrics(table.metrics, start, stop),
        table.settings.rows(start, stop) if table.settings else repeat(_NO_SETTINGS),
    )


def _optional(values: Floats | None, start: int, stop: int) -> Iterable[float | None]:
    if values is None:
        return repeat(None)
    return [None if math.isnan(value) else value for value in values[start:stop].tolist()]


def _metrics(metrics: Mapping[str, Floats], start: int, stop: int) -> Iterable[Mapping[str, float]]:
    """Metrics of each row, without those whose cell is empty or no number."""
    if not metrics:
        return repeat(_NO_METRICS)
    names, columns = [*metrics], [values[start:stop].tolist() for values in metrics.values()]
    return (
        {name: value for name, value in zip(names, row, strict=True) if math.isfinite(value)}
        for row in zip(*columns, strict=True)
    )


def _outcomes(table: TableColumns, start: int, stop: int) -> Iterator[tuple[Status, str | None]]:
    """Status and error of each row."""
    counts = sum(table.numbers[field][start:stop] for field in ("params", "tokens", "flops"))
    states = table.words["status"][start:stop] if "status" in table.words else repeat("")
    errors = (table.errors.get(row) for row in range(start, stop))
    return map(_outcome, states, errors, np.isnan(counts).tolist())


def _outcome(state: object, text: str | None, is_incomplete: bool) -> tuple[Status, str | None]:
    """Status and error of a row; a run whose tracker says crashed or running has failed."""
    word = str(state or "").strip().lower()
    if word == "diverged":
        return "diverged", "it diverged"
    if word not in _COMPLETED:
        return "failed", f"its state is {one_line(word, 40)!r}"
    if text is not None:
        return "failed", text
    if is_incomplete:
        return "failed", "the table leaves out its params, tokens or FLOPs"
    return "completed", None


def _run(
    num_params: float, num_tokens: float, flops: float, loss: float,
    budget: float | None, loss_stderr: float | None, group: object, size: object,
    outcome: tuple[Status, str | None], metrics: Mapping[str, float],
    settings: Mapping[str, Setting],
) -> Run:  # fmt: skip
    spec = RunSpec(
        num_params=num_params,
        num_tokens=num_tokens,
        flops=flops,
        budget=budget,
        size=_size(size),
        param_counts=_NOTHING,
        **settings,  # type: ignore[arg-type]  # each has the type of its field
    )
    return Run(
        spec=spec,
        status=outcome[0],
        loss=loss,
        loss_stderr=loss_stderr,
        metrics=metrics,
        num_tokens=num_tokens,
        flops=flops,
        versions=_NO_VERSIONS,
        error=outcome[1],
        group=None if group in (None, "") else str(group),
    )


def _size(cell: object) -> SizeValue | None:
    """A size as a number where it is one, else as text."""
    if cell in (None, ""):
        return None
    try:
        number = float(cell)  # type: ignore[arg-type]  # refused by float() itself
    except (TypeError, ValueError, OverflowError):
        return str(cell)
    return int(number) if number.is_integer() else number


def first_errors(read: Mapping[str, Read]) -> dict[int, str]:
    """Row -> reason why it is no run, for rows with words in place of numbers."""
    errors: dict[int, str] = {}
    for field, column in read.items():
        for row in np.flatnonzero(column.is_text).tolist():
            errors.setdefault(row, f"the table has text for its {field}")
    return errors
