"""Reading files that may be damaged; a damaged file is renamed and never overwritten."""

import os
import stat
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from isoflop.display.format import one_line
from isoflop.errors import StoreError

__all__ = ["Damaged", "Unopened", "cannot_be_read", "move_aside", "read_file", "set_aside"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Non-blocking, because opening a pipe without a writer would wait forever."""


class Damaged(StoreError):
    """A file has contents that isoflop does not write; the message is the reason alone."""


class Unopened(Damaged):
    """A file exists but cannot be opened, so it may be intact."""


def read_file(path: str) -> bytes | None:
    """Contents of a file; None where it does not exist.

    Paths are plain strings and each file is opened once, because a store has thousands of files.

    Raises Damaged where the path is no file, Unopened where the system refuses access.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise Damaged("it is a link to a missing file") from None
        return None
    except OSError as error:
        raise Unopened(_reason(error)) from error
    try:
        return _contents(descriptor)
    finally:
        os.close(descriptor)


def _contents(descriptor: int) -> bytes:
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        raise Damaged("it is a folder" if stat.S_ISDIR(kind) else "it is no file")
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise Unopened(_reason(error)) from error


def cannot_be_read(path: str | os.PathLike[str], error: Damaged) -> str:
    """Sentence with the file and the reason."""
    return f"{one_line(path, 150)} cannot be read: {error}"


def set_aside(path: Path, error: Damaged) -> Path:
    """Rename a damaged file so that nothing reads it, and report the new name on stderr.

    Raises StoreError where the file may be intact, or its folder cannot be written.
    """
    if isinstance(error, Unopened):
        raise StoreError(f"{cannot_be_read(path, error)}; make it readable, or remove it.")
    try:
        aside = move_aside(path)
    except OSError as failed:
        raise StoreError(
            f"{cannot_be_read(path, error)}, nor renamed ({_reason(failed)}); remove it."
        ) from failed
    print(
        f"isoflop: {cannot_be_read(path, error)}; it is now {one_line(aside.name)}",
        file=sys.stderr,
        flush=True,
    )
    return aside


def move_aside(path: Path) -> Path:
    """Rename a file so that nothing reads it; return its new path."""
    return path.rename(next(name for name in _names(path) if not os.path.lexists(name)))


def _names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.unreadable")
    for number in count(2):
        yield path.with_name(f"{path.name}.unreadable-{number}")


def _reason(error: OSError) -> str:
    return one_line(error.strerror or error).lower()
