"""The reader of a source: by the files that lie in a folder, or by a file's name and beginning."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from isoflop.storage.readers.huggingface import STATE, read_trainer_states
from isoflop.storage.readers.json_lines import LINES, read_json_lines
from isoflop.storage.readers.lightning import read_lightning
from isoflop.storage.readers.mlflow_store import is_database, read_mlflow_folder
from isoflop.storage.readers.tensorboard_events import read_event_folders
from isoflop.storage.readers.tracked import Read
from isoflop.storage.readers.wandb_files import read_wandb_files

__all__ = ["find_reader"]

_DEPTH = 8
"""Levels of folders in which logs are looked for."""
_MOST_FILES = 20_000
"""Files at which the search ends: a whole disk is no log."""
_OF_A_STORE = ("task.json", "stages")
_OF_A_RUN = ("spec.json", "record.json")
_DATABASES = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class _Reader:
    """A reader, and the names of files by which its folders are known."""

    read: Read
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    infix: str = ""

    def knows(self, name: str) -> bool:
        return (
            name in self.names
            or (bool(self.suffixes) and name.endswith(self.suffixes))
            or (bool(self.infix) and self.infix in name)
        )


_READERS: Sequence[_Reader] = (
    _Reader(read_wandb_files, suffixes=(".wandb",)),
    _Reader(read_mlflow_folder, names=("mlflow.db", "meta.yaml")),
    _Reader(read_trainer_states, names=(STATE,)),
    _Reader(read_lightning, names=("metrics.csv",)),
    _Reader(read_event_folders, infix="tfevents"),
    _Reader(read_json_lines, suffixes=LINES),
)
"""The first one whose files lie in a folder reads it: a Trainer also writes TensorBoard's."""


def find_reader(path: Path) -> Read | None:
    """The function that reads a tracker's folder or file; None for a store, a table or nothing."""
    if os.path.isdir(path):
        return None if _is_store(path) else _of_folder(path)
    return _of_file(path) if os.path.isfile(path) else None


def _of_folder(path: Path) -> Read | None:
    found: set[int] = set()
    for name in islice(_names(path), _MOST_FILES):
        found |= {place for place, reader in enumerate(_READERS) if reader.knows(name)}
        if 0 in found:
            break
    return _READERS[min(found)].read if found else None


def _of_file(path: Path) -> Read | None:
    name = path.name
    if name == STATE:
        return read_trainer_states
    if name == "metrics.csv" and (path.parent / "hparams.yaml").exists():
        return read_lightning
    if path.suffix.lower() == ".json":
        return read_json_lines
    if path.suffix.lower() in _DATABASES and is_database(path):
        return read_mlflow_folder
    known = (reader for reader in _READERS if reader.suffixes or reader.infix)
    return next((reader.read for reader in known if reader.knows(name)), None)


def _is_store(path: Path) -> bool:
    """Whether a folder is one that isoflop itself wrote."""
    if any(os.path.exists(path / name) for name in _OF_A_STORE):
        return True
    return any(
        os.path.exists(os.path.join(entry, name)) for entry in _entries(path) for name in _OF_A_RUN
    )


def _names(path: Path) -> Iterator[str]:
    """Names of the files in a folder and in those below it, the nearest first, without links."""
    folders = deque([(os.fspath(path), 0)])
    while folders:
        folder, depth = folders.popleft()
        for entry in _entries(folder):
            yield entry.name
            if depth < _DEPTH and _is_folder(entry):
                folders.append((entry.path, depth + 1))


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """Entries of a folder, none where it cannot be listed."""
    try:
        return list(islice(os.scandir(folder), _MOST_FILES))
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
    except OSError:
        return False
