"""Records of a `.wandb` file: the log format of LevelDB, with the messages of W&B inside.

A file begins with seven bytes of its own. Blocks of 32 KiB follow; each holds pieces of records,
and a piece has a checksum, its length and its place in the record (whole, first, middle or last).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from isoflop.errors import DataError, StoreError, first_line
from isoflop.storage.readers.tracked import short

__all__ = ["records"]

_BLOCK = 32 * 1024
_PIECE = struct.Struct("<IHB")
_START = b":W&B"
_HEADER = 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


def records(path: Path) -> Iterator[bytes]:
    """The records up to the end, or up to where the writer was killed.

    Raises DataError where the file is no log of W&B.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{short(path)} cannot be read: {first_line(error)}.") from error
    if data and data[: len(_START)] != _START:
        raise DataError(
            f"{short(path)} must be a run file of W&B, but it begins otherwise; check the path."
        )
    record = bytearray()
    for kind, piece in _pieces(data):
        if kind in (_WHOLE, _FIRST):
            record.clear()
        record += piece
        if kind in (_WHOLE, _LAST):
            yield bytes(record)


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = _HEADER
    while place + _PIECE.size <= len(data):
        room = _BLOCK - place % _BLOCK
        if room < _PIECE.size:  # too small for a piece: the writer fills it with zeros
            place += room
            continue
        checksum, length, kind = _PIECE.unpack_from(data, place)
        piece = data[place + _PIECE.size : place + _PIECE.size + length]
        if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            return
        yield kind, piece
        place += _PIECE.size + length
