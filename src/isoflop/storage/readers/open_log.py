"""open_log(): the log of an address or a path, if it is one."""

import os
from pathlib import Path

from isoflop.storage.readers.find import find_reader
from isoflop.storage.readers.logs import Log, log_of
from isoflop.storage.readers.mlflow_store import read_mlflow_server
from isoflop.storage.readers.tracked import Columns
from isoflop.storage.readers.wandb_api import read_wandb_project

__all__ = ["open_log", "parted_path"]

_WANDB, _MLFLOW = "wandb:", "mlflow:"


def open_log(source: str, columns: Columns) -> Log | None:
    """The log of `wandb:entity/project`, of `mlflow:http://...`, or of a tracker's folder or file.

    A project, or an experiment, may follow after `#`. None for a store, a table, or no file at all.
    """
    if source.startswith(_WANDB) and not os.path.exists(source):
        return log_of(source, read_wandb_project(source.removeprefix(_WANDB)))
    if source.startswith(_MLFLOW) and not os.path.exists(source):
        address, _, project = source.removeprefix(_MLFLOW).partition("#")
        if "://" not in address:
            return _of_path(address, project, columns)
        return log_of(address, read_mlflow_server(address), project)
    path, project = parted_path(source)
    return _of_path(path, project, columns)


def parted_path(source: str) -> tuple[str, str]:
    """(path, what follows after `#`), where there is no file of the whole name."""
    if "#" not in source or os.path.exists(source):
        return source, ""
    path, _, part = source.rpartition("#")
    return (path, part) if os.path.exists(path) else (source, "")


def _of_path(path: str, project: str, columns: Columns) -> Log | None:
    found = find_reader(Path(path))
    if found is None:
        return None
    read, files = found
    runs = read(Path(path), files, columns)
    return log_of(Path(path).name or path, runs, project)
