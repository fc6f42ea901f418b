"""Checkpoint files: written whole or not at all, and read without running code from them.

A file ends with the digest of its content, since torch may read a damaged file without an error.
The previous checkpoint is kept beside the newest.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO  # Any: checkpoints hold values of many types

import torch

from isoflop.errors import StoreError
from isoflop.storage.atomic import is_full, replacing
from isoflop.training.notices import print_notice

__all__ = ["load_checkpoint", "newest_checkpoint", "save_checkpoint"]

DIGEST_BYTES = 16
READ_BYTES = 2**24


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state atomically, and keep the previous file beside it.

    state: tensors, numbers, texts, and containers of them.

    If the disk has no room for a third file, the oldest is deleted first. Raises StoreError if
    that is not enough.
    """
    try:
        _write(path, state)
    except StoreError as error:
        older = _previous(path)
        if not (is_full(error) and older.exists()):
            raise
        older.unlink()
        _write(path, state)


def newest_checkpoint(path: Path, fits: Callable[[Mapping[str, Any]], bool]) -> Path | None:
    """The newest file with a whole state that fits, or None; broken files are set aside."""
    for candidate in (path, _previous(path)):
        if candidate.exists():
            reason = _why_not(candidate, fits)
            if reason is None:
                return candidate
            _set_aside(candidate, reason)
    return None


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """The state in a file, on the CPU. Raises ValueError for a damaged file, or errors of torch.

    mapped: read each tensor from the file when it is used, instead of all into memory.
    """
    with open(path, "rb") as file:
        if not _is_whole(file):
            raise ValueError("it is damaged")
        file.seek(0)
        source = path if mapped else file
        state: dict[str, Any] = torch.load(
            source, map_location="cpu", weights_only=True, mmap=mapped
        )
    return state


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with replacing(path, keep=_previous(path)) as file:
        writer = _Digesting(file)
        try:
            torch.save(dict(state), writer)  # type: ignore[arg-type]  # needs no more of a file
        except RuntimeError as error:  # torch's form of an error of the disk
            if writer.error is not None:
                raise writer.error from error
            raise
        file.write(writer.digest.digest())


class _Digesting:
    """A file written from start to end, with the digest of its content."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            number = self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return number

    def flush(self) -> None:
        self.file.flush()


def _is_whole(file: BinaryIO) -> bool:
    left = file.seek(0, 2) - DIGEST_BYTES
    file.seek(0)
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    while left > 0 and (data := file.read(min(left, READ_BYTES))):
        digest.update(data)
        left -= len(data)
    return file.read() == digest.digest()


def _why_not(path: Path, fits: Callable[[Mapping[str, Any]], bool]) -> str | None:
    try:
        return None if fits(load_checkpoint(path)) else "it belongs to another run"
    except MemoryError:
        raise
    except Exception as error:  # torch may raise anything for an arbitrary file
        return str(error) or type(error).__name__


def _set_aside(path: Path, reason: str) -> None:
    aside = path.replace(path.with_name(f"{path.name}.unreadable"))
    print_notice(
        f"{path} cannot be used ({reason:.100}) and is now {aside.name}; "
        f"the run goes on from before it."
    )
