"""Runs of MLflow: an SQLite file, a folder `mlruns`, or a tracking server (`mlflow:http://...`)."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from isoflop.extras import load_extra
from isoflop.storage.readers.tracked import (
    Columns,
    Series,
    Span,
    TrackedRun,
    failures_as_errors,
    series_of,
)

__all__ = ["META", "is_mlflow", "read_mlflow_files", "read_mlflow_server"]

_PAGE = 1_000
_LONGEST = 10_000
META = "meta.yaml"
_ALLOW = "MLFLOW_ALLOW_FILE_STORE"
"""MLflow refuses its own older folders without it."""


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database of MLflow."""
    with open(path, "rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            return False
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        except sqlite3.Error:
            return False
    return {("runs",), ("experiments",), ("latest_metrics",)} <= set(tables)


def is_experiment(path: Path) -> bool:
    """Whether a file `meta.yaml` is that of an experiment in MLflow's older folders."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return "artifact_location:" in file.read(_LONGEST)


def is_mlflow(path: Path) -> bool:
    """Whether a file is MLflow's: a database, or `meta.yaml` of an experiment."""
    try:
        return is_experiment(path) if path.name == META else is_database(path)
    except OSError:
        return False


def read_mlflow_files(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of SQLite files, or else of folders `mlruns` or one experiment in them."""
    _require_mlflow()
    databases = [file for file in files if file.name != META]
    if databases:
        return [run for file in databases for run in _of_database(file)]
    only = path.name if path in (file.parent for file in files) else ""
    roots = dict.fromkeys(file.parent.parent.resolve() for file in files)
    with _folders_allowed(), failures_as_errors(path):
        return [run for root in roots for run in _runs_of(_client(str(root)), only)]


def _require_mlflow() -> None:
    """Raise InstallError where a package of the extra is missing."""
    with failures_as_errors("MLflow"):
        for package in ("mlflow", "sqlalchemy"):
            load_extra(package, "mlflow")


def _of_database(path: Path) -> list[TrackedRun]:
    """The runs of an SQLite file, of which MLflow opens a copy: it would write to the original.

    The copy is removed with the last of the runs.
    """
    folder = mkdtemp(prefix="isoflop-")
    copy = Path(folder) / "mlflow.db"
    with failures_as_errors(path):
        try:
            _copy(path, copy)
            client = _client(f"sqlite:///{copy}")
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
        finalize(client, rmtree, folder, ignore_errors=True)
        return _runs_of(client)


def read_mlflow_server(address: str) -> Sequence[TrackedRun]:
    """The runs of a tracking server."""
    _require_mlflow()
    with failures_as_errors(address):
        return _runs_of(_client(address))


def _copy(path: Path, copy: Path) -> None:
    """A consistent copy, also while a program writes to the database."""
    source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    with closing(source), closing(sqlite3.connect(copy)) as target:
        source.backup(target)


@contextmanager
def _folders_allowed() -> Iterator[None]:
    before = os.environ.get(_ALLOW)
    os.environ[_ALLOW] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ALLOW]
        else:
            os.environ[_ALLOW] = before


def _client(address: str) -> Any:
    return load_extra("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=address)


def _runs_of(client: Any, only: str = "") -> list[TrackedRun]:
    """The runs of a store, or of one experiment by its id."""
    names = {
        each.experiment_id: each.name
        for each in client.search_experiments()
        if only in ("", each.experiment_id)
    }
    return [_run(client, run, names[run.info.experiment_id]) for run in _pages(client, [*names])]


def _pages(client: Any, experiments: list[str]) -> Iterator[Any]:
    token = None
    while experiments:
        page = client.search_runs(experiments, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _run(client: Any, run: Any, experiment: str) -> TrackedRun:
    history = partial(_history, client, run.info.run_id, frozenset(run.data.metrics))
    started = (run.info.start_time or 0) / 1e3
    return TrackedRun(
        id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        config=dict(run.data.params),
        last=dict(run.data.metrics),
        history=lru_cache(maxsize=None)(history),
        span=_span(started, getattr(run.data, "_metric_objs", ())),
        state=run.info.status.lower(),
        started=started,
        project=experiment,
    )


def _history(client: Any, run_id: str, logged: frozenset[str], name: str) -> Series | None:
    """All logged values of a metric, by step; of several at one step, the last one in time."""
    if name not in logged:
        return None
    with failures_as_errors(f"The history of run {run_id}"):
        points = client.get_metric_history(run_id, name)
    return series_of([(point.step, point.timestamp / 1e3, point.value) for point in points])


def _span(started: float, latest: Sequence[Any]) -> Span | None:
    """Steps and seconds of a run, from the latest value of each metric."""
    if not latest:
        return None
    last = max(float(metric.step) for metric in latest)
    return Span(0.0, last, times=(started, max(metric.timestamp for metric in latest) / 1e3))
