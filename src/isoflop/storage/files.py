"""Files that others may have spoilt: read with a reason where they cannot be, and set aside, never written over."""

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
"""Opening a pipe that nobody writes to must not wait."""


class Damaged(StoreError):
    """A file is not what isoflop writes; the message is the reason alone."""


class Unopened(Damaged):
    """A file is there, but the system does not give it: it may be whole."""


def read_file(path: str) -> bytes | None:
    """A file's contents, None where there is none. Plain strings and one open: a store has thousands of files.

    Raises Damaged where something else stands in its place, Unopened where the system refuses it.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise Damaged("a link leads to something that is not there") from None
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
    """The file and the reason, in words."""
    return f"{one_line(path, 150)} cannot be read: {error}"


def set_aside(path: Path, error: Damaged) -> Path:
    """Give a damaged file a name under which nothing looks for it, and say so on stderr.

    Raises StoreError where the file may be whole, or its folder cannot be written.
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
    """Give a file a name under which nothing looks for it."""
    return path.rename(next(name for name in _names(path) if not os.path.lexists(name)))


def _names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.unreadable")
    for number in count(2):
        yield path.with_name(f"{path.name}.unreadable-{number}")


def _reason(error: OSError) -> str:
    return one_line(error.strerror or error).lower()
