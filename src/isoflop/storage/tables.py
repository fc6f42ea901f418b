"""read_runs(): runs from a store, a table, a tracker's log, a data frame or a list of runs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec, tasks_of, tasks_text
from isoflop.storage.columns import find_columns
from isoflop.storage.counts import PER_6ND
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.joining import joined, planned_of, with_planned
from isoflop.storage.readers.excel import EXCEL, source_of_workbook
from isoflop.storage.readers.logs import Log
from isoflop.storage.readers.open_log import open_log, parted_path
from isoflop.storage.rows import runs_of_table
from isoflop.storage.sheet import Source, is_frame, open_sheet, source_of_frame
from isoflop.storage.store import RecordStore
from isoflop.storage.table_columns import Given, columns_of
from isoflop.storage.unreadable import Unreadable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Readings", "read_runs", "read_table", "table_notes"]


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
    vocabulary: float | None = None,
    schedule: str | None = None,
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
    these (N, D, C, `num_params`, `val_loss`, `budget`, ...). How a run was trained is read where
    the table has it: `lr`, `batch`, `weight_decay`, `seed`, `schedule`, `epochs`, `unique_tokens`
    and `vocabulary`.

    Units in a cell (350M) or in a name (tokens_B) are applied; counts that only another unit
    explains are refused. FLOPs default to 6·N·D, tokens to FLOPs/(6·N). `run` becomes `Run.group`.
    Budgets within 1 % of each other are one. An empty `compute_budget` is no budget, nor is one
    that differs in nearly every row. A loss that is no finite number becomes NaN, and a row with
    words in place of a number is a failed run.

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
    vocabulary: number of distinct tokens of the models; a loss above its log is worse than
        guessing, and its run has failed.
    schedule: how the learning rate of all runs of a table went, where it has no such column:
        "constant", or "decayed" where every row was measured at the end of a decay, so that rows of
        one run before its last count too.

    Raises DataError where the table cannot be read without guessing, or has no run of that task;
    StoreError where the file does not exist.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"N": ["350M", "1.3B"], "D": ["7B", "26B"], "val_loss": [3.1, 2.7]})
    >>> [f"{run.num_params:.3g} params, {run.flops:.3g} FLOPs" for run in read_runs(table)]
    ['3.5e+08 params, 1.47e+19 FLOPs', '1.3e+09 params, 2.03e+20 FLOPs']
    """
    planned = None if specs is None else planned_of(specs)
    read = _read(source, columns, vocabulary, schedule, planned)
    runs = read.runs if planned is None else joined(source, read.table, read.runs, planned)
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
    vocabulary: float | None = None,
    schedule: str | None = None,
) -> Readings:
    """`read_runs` with notes on how the table was read."""
    return _read(source, columns, vocabulary, schedule, None)


def _read(
    source: "str | os.PathLike[str] | RecordStore | Sequence[Run] | pd.DataFrame",
    columns: Mapping[str, str] | None,
    vocabulary: float | None,
    schedule: str | None,
    planned: Sequence[RunSpec] | None,
) -> Readings:
    columns = None if columns is None else _checked(columns)
    if vocabulary is not None:
        vocabulary = arguments.number(
            vocabulary, "read_runs: vocabulary", must="2 or more", holds=lambda one: one >= 2
        )
    if schedule is not None:
        schedule = arguments.word(schedule, "read_runs: schedule").strip().lower()
    given = Given(columns, vocabulary, schedule, planned)
    if isinstance(source, str | os.PathLike):
        return _of_path(arguments.a_path(source, "read_runs: source"), given)
    if isinstance(source, RecordStore):
        return Readings(source.read_runs(), is_store=True)
    if is_frame(source):
        return _table(source_of_frame(source), given)
    if isinstance(source, Sequence) and all(isinstance(run, Run) for run in source):
        return Readings([*source])
    raise DataError(
        "read_runs() takes a store's folder, a table's file, a tracker's log, a pandas DataFrame "
        f"or runs, but got {type(source).__name__}."
    )


def _of_path(source: str, given: Given) -> Readings:
    log = open_log(source, given.columns or {})
    if log is not None:
        return _of_log(log, given)
    if os.path.isdir(source):
        return Readings(_runs_of_store(Path(source)), is_store=True)
    path, sheet = parted_path(source)
    if path.lower().endswith(EXCEL) and os.path.isfile(path):
        return _table(source_of_workbook(Path(path), sheet), given)
    return _table(open_sheet(Path(source)), given)


def _of_log(log: Log, given: Given) -> Readings:
    """Runs of a tracker's log, by way of a table with a row for each."""
    named = log.columns(given.columns)
    offered = log.offered(named)
    chosen = find_columns(offered, named, log.name)
    table = _table(log.table(chosen, offered), replace(given, columns=named))
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


def _table(source: Source, given: Given) -> Readings:
    if given.planned is not None:
        source = with_planned(source, given.planned, given.columns or ())
    table, notes = columns_of(source, given)
    return Readings(runs_of_table(table), notes, table=source)
