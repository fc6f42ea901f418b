"""The reader of a source: by the files that lie in a folder, or by a file's name and beginning."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from isoflop.display.format import one_line
from isoflop.errors import DataError
from isoflop.storage.readers.huggingface import STATE, read_trainer_states
from isoflop.storage.readers.json_lines import LINES, read_json_lines
from isoflop.storage.readers.lightning import read_lightning
from isoflop.storage.readers.mlflow_store import META, is_mlflow, read_mlflow_files
from isoflop.storage.readers.tensorboard_events import read_event_folders
from isoflop.storage.readers.tracked import Read
from isoflop.storage.readers.wandb_files import read_wandb_files

__all__ = ["find_reader"]

_MOST_FILES = 200_000
"""Files at which the search for logs ends: a whole disk is no log."""
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
    confirms: Callable[[Path], bool] = os.path.isfile
    """Whether a file of such a name is the tracker's."""

    def knows(self, name: str) -> bool:
        return (
            name in self.names
            or (bool(self.suffixes) and name.endswith(self.suffixes))
            or (bool(self.infix) and self.infix in name)
        )


_READERS: Sequence[_Reader] = (
    _Reader(read_wandb_files, suffixes=(".wandb",)),
    _Reader(read_mlflow_files, names=("mlflow.db", META), confirms=is_mlflow),
    _Reader(read_trainer_states, names=(STATE,)),
    _Reader(read_lightning, names=("metrics.csv",)),
    _Reader(read_event_folders, infix="tfevents"),
    _Reader(read_json_lines, suffixes=LINES),
)
"""The first one whose files lie in a folder reads it: a Trainer also writes TensorBoard's."""


Found = tuple[Read, Sequence[Path]]
"""The function that reads a tracker's files, and the files."""


def find_reader(path: Path) -> Found | None:
    """The reader of a tracker's folder or file; None for a store, a table or nothing.

    Raises DataError where a folder holds a log, but too many files to find all of it.
    """
    if os.path.isdir(path):
        return None if _is_store(path) else _of_folder(path)
    read = _of_file(path) if os.path.isfile(path) else None
    return None if read is None else (read, [path])


def _of_folder(path: Path) -> Found | None:
    found: dict[int, list[Path]] = {}
    entries = [*islice(_below(path), _MOST_FILES)]
    for entry in entries:
        for place, reader in enumerate(_READERS):
            if reader.knows(entry.name) and reader.confirms(Path(entry.path)):
                found.setdefault(place, []).append(Path(entry.path))
    if not found:
        return None
    if len(entries) == _MOST_FILES:
        raise DataError(
            f"A tracker's folder must hold fewer than {_MOST_FILES:,} files, but "
            f"{one_line(path, 80)} holds more; name the folder of the runs alone."
        )
    first = min(found)
    return _READERS[first].read, sorted(found[first])


def _of_file(path: Path) -> Read | None:
    name = path.name
    if name == STATE:
        return read_trainer_states
    if name == "metrics.csv" and (path.parent / "hparams.yaml").exists():
        return read_lightning
    if path.suffix.lower() == ".json":
        return read_json_lines
    if path.suffix.lower() in _DATABASES and is_mlflow(path):
        return read_mlflow_files
    known = (reader for reader in _READERS if reader.suffixes or reader.infix)
    return next((reader.read for reader in known if reader.knows(name)), None)


def _is_store(path: Path) -> bool:
    """Whether a folder is one that isoflop itself wrote."""
    if any(os.path.exists(path / name) for name in _OF_A_STORE):
        return True
    return any(
        os.path.exists(os.path.join(entry, name)) for entry in _entries(path) for name in _OF_A_RUN
    )


def _below(path: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder and in those below it, without links and hidden folders."""
    folders = deque([os.fspath(path)])
    while folders:
        for entry in _entries(folders.popleft()):
            yield entry
            if _is_folder(entry):
                folders.append(entry.path)


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
