"""Parts of a stream that knows how to divide, as those of Hugging Face by their files."""

from collections.abc import Iterator
from inspect import signature
from typing import Any  # streams are of the user's types

__all__ = ["num_parts", "part_of_stream"]

MOST_PARTS = 8
"""Each part is read by itself: more of them open more files at once."""


def num_parts(stream: Any) -> int:
    """How many parts of a stream are read in turn: a power of two, 1 if it does not divide.

    It depends on the stream alone, so that its order is the same for any number of workers.
    """
    number = getattr(stream, "num_shards", None)
    if type(number) is not int or number < 2 or not _divides(stream):
        return 1
    if any("Skip" in name or "Take" in name for name in _steps(stream)):
        return 1  # its parts would skip or take other examples than the whole
    return 1 << (min(number, MOST_PARTS).bit_length() - 1)


def part_of_stream(stream: Any, number: int, num_parts: int) -> Any:
    """One of the parts; the stream itself if there is one."""
    return stream if num_parts == 1 else stream.shard(num_shards=num_parts, index=number)


def _divides(stream: Any) -> bool:
    """Whether a stream has a `shard` that takes the arguments of Hugging Face's."""
    try:
        signature(stream.shard).bind(num_shards=1, index=0)
    except (AttributeError, TypeError, ValueError):  # ValueError: one of C may have no signature
        return False
    return True


def _steps(stream: Any) -> Iterator[str]:
    """Names of the steps of which Hugging Face makes a stream."""
    waiting = [getattr(stream, "_ex_iterable", None)]
    while waiting:
        step = waiting.pop()
        if step is not None:
            yield type(step).__name__
            waiting += [getattr(step, "ex_iterable", None), *getattr(step, "ex_iterables", ())]
