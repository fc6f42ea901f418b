"""Targets of writing: a file (links are followed), a device or a pipe; folders are refused."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from isoflop.display.format import one_line
from isoflop.errors import StoreError

__all__ = ["is_stream", "keep_mode", "opened_stream", "real_path"]


def real_path(path: str | os.PathLike[str]) -> Path:
    """The path behind links, so that the file is replaced and not the link.

    Raises StoreError for a folder.
    """
    if "\0" in os.fspath(path):
        raise StoreError(
            f"A file's name must hold no zero byte, but {one_line(path, 150)} does; leave it out."
        )
    if os.path.isdir(path):
        raise StoreError(
            f"A file is to be written, but {one_line(path, 200)} is a folder; name a file in it."
        )
    return Path(path) if is_stream(path) else Path(os.path.realpath(path))


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a device, a pipe or the like, which is written to and never replaced."""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


@contextmanager
def opened_stream(path: Path) -> Iterator[BinaryIO]:
    """A device or a pipe, open for writing.

    Raises StoreError where a pipe has no reader, or writing fails.
    """
    try:
        # non-blocking: opening a pipe without a reader would wait forever
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        os.set_blocking(descriptor, True)
        with open(descriptor, "wb") as file:
            yield file
    except OSError as error:
        raise StoreError(
            f"Cannot write to {one_line(path, 150)}: {one_line(error.strerror or error)}; choose a "
            "file instead."
        ) from error


def keep_mode(file: BinaryIO, path: Path) -> None:
    """Give a new file the mode and owner of the file at `path`, as far as the system permits."""
    with suppress(OSError, AttributeError):  # no such file; a disk or a system without modes
        before, now = path.stat(), os.fstat(file.fileno())
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
