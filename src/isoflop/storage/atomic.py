"""The one way isoflop writes a file: whole or not at all, even when the machine dies in between."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from isoflop.errors import StoreError
from isoflop.storage.target import is_stream, keep_mode, opened_stream, real_path

__all__ = ["replacing", "write_bytes", "write_text"]


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
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An open file that takes the place of `path` when the block ends without an error: write, fsync, rename."""
    path = Path(path)
    # The process id and a random tail keep two writers of one path from sharing a temporary file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"Cannot write {path}: {error.strerror or error}; choose a folder that can be written."
        ) from error
