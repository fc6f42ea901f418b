"""The one way isoflop writes a file: whole or not at all, even when the machine dies in between."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from isoflop.errors import StoreError
from isoflop.storage.target import is_stream, keep_mode, opened_stream, real_path

__all__ = ["is_full", "remove_partials", "replacing", "write_bytes", "write_text", "writing"]

SHARED_SECONDS = 3600.0
"""No writer of a small file takes so long."""


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file (UTF-8) atomically; gives its path. Folders are made as needed."""
    return write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file atomically; gives its path. Folders are made as needed.

    A link is followed, a file keeps its mode, and a device or a pipe is written to.

    Raises StoreError where the folder cannot be written, or `path` is one.
    """
    target = real_path(path)
    with opened_stream(target) if is_stream(target) else replacing(target) as file:
        keep_mode(file, target)
        file.write(data)
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str], *, keep: Path | None = None) -> Iterator[BinaryIO]:
    """An open file that takes the place of `path` when the block ends without an error: write, fsync, rename.

    keep: the name that the file which was there goes on under.
    """
    path = Path(path)
    # The process id and a random tail keep two writers of one path from sharing a temporary file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside the block an error of the system is a StoreError that says what cannot be written, and the remedy."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str | os.PathLike[str], error: OSError) -> StoreError:
    remedy = "choose a folder that can be written"
    if error.errno in _FULL:
        remedy = "make room, and the same call goes on"
    elif error.errno == errno.EIO:
        remedy = "once the disk answers again, the same call goes on"
    found = StoreError(f"Cannot write {path}: {error.strerror or error}; {remedy}.")
    found.errno = error.errno
    return found


_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: StoreError) -> bool:
    """Whether a file could not be written because there was no room."""
    return error.errno in _FULL


def remove_partials(folder: Path, *, shared: bool) -> None:
    """Remove what writers that were killed have left in a folder.

    shared: others may write there now, so only what is an hour old goes; leases are always written by others, too.
    """
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):  # another has removed it
            is_old = time.time() - partial.stat().st_mtime > SHARED_SECONDS
            if is_old or not (shared or partial.name.startswith(".lease.")):
                partial.unlink()
