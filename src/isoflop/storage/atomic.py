"""Atomic writing of files: whole or not at all, even when the machine fails in between."""

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

ABANDONED_SECONDS = 3600.0
"""Age from which a temporary file is abandoned: writing a small file never takes so long."""


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file (UTF-8) atomically, creating folders as needed; return its path."""
    return write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file atomically, creating folders as needed; return its path.

    Links are followed, a replaced file keeps its mode, and devices and pipes are written to.

    Raises StoreError where the folder cannot be written, or `path` is a folder.
    """
    target = real_path(path)
    with opened_stream(target) if is_stream(target) else replacing(target) as file:
        keep_mode(file, target)
        file.write(data)
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str], *, keep: Path | None = None) -> Iterator[BinaryIO]:
    """An open file that replaces `path` when the block ends without an error: write, fsync, rename.

    keep: new name for the file that is replaced; None discards it.
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
    """Turn a system error inside the block into a StoreError with the path and a remedy."""
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
    failure = StoreError(f"Cannot write {path}: {error.strerror or error}; {remedy}.")
    failure.errno = error.errno
    return failure


_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: StoreError) -> bool:
    """Whether a file could not be written because the disk or the quota is full."""
    return error.errno in _FULL


def remove_partials(folder: Path, *, shared: bool) -> None:
    """Remove the temporary files that killed writers have left in a folder.

    shared: other processes may be writing there, so only files an hour old are removed. Leases
        always count as shared.
    """
    for partial in folder.glob(".*.partial"):
        with suppress(OSError):  # removed by another process
            is_old = time.time() - partial.stat().st_mtime > ABANDONED_SECONDS
            if is_old or not (shared or partial.name.startswith(".lease.")):
                partial.unlink()
