"""Jobs of reading: each gives one batch of a source, and depends on its own values alone.

So a job gives the same batch in whichever process it is done.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any  # samplers give indices of any type

from isoflop.errors import DataError, IsoflopError, first_line
from isoflop.training.streams import Stream
from isoflop.user_code.data import Source
from isoflop.user_code.loaders import gathered
from isoflop.user_code.randomness import reseed

__all__ = [
    "DrawnBatch",
    "HeldOutBatch",
    "Job",
    "JointBatches",
    "StreamBatch",
    "TrainingBatch",
    "Waiting",
]

Job = Callable[[Source], object]
"""Gives the batch of a source; None for a process without a part of the batch."""

MOST_NAMED = 5
"""Indices that a message names."""


@dataclass(frozen=True)
class TrainingBatch:
    """The examples at some indices, augmented by (seed, example, epoch) alone.

    seed: None if examples draw no random numbers.
    """

    seed: int | None
    epochs: Sequence[int]
    indices: Sequence[int]

    def __call__(self, source: Source) -> object:
        if not self.indices:
            return None
        if self.seed is None:
            return _unseeded(source, self.indices)
        keys = [
            (self.seed, index, epoch)
            for epoch, index in zip(self.epochs, self.indices, strict=True)
        ]
        return _seeded(source, self.indices, keys, (self.seed, *self.indices))


@dataclass(frozen=True)
class JointBatches:
    """The batches of several runs at one step."""

    jobs: Sequence[Job]

    def __call__(self, source: Source) -> list[object]:
        return [job(source) for job in self.jobs]


@dataclass(frozen=True)
class HeldOutBatch:
    """The examples at some indices; their random draws are fixed by a key and the example."""

    key: int
    indices: Sequence[int]

    def __call__(self, source: Source) -> object:
        keys = [(self.key, index) for index in self.indices]
        return _seeded(source, self.indices, keys, None)


@dataclass(frozen=True)
class DrawnBatch:
    """Examples in the order of the user's sampler; their draws are fixed by seed and position."""

    seed: int
    positions: Sequence[tuple[int, int]]
    """Pass and number within the pass, by example."""
    indices: Sequence[Any]

    def __call__(self, source: Source) -> object:
        if not self.indices:
            return None
        keys = [(self.seed, *position) for position in self.positions]
        return _seeded(source, self.indices, keys, None)


@dataclass(frozen=True)
class StreamBatch:
    """One batch of a stream. A process that does these jobs in turn reads the stream once.

    stream: the stream, or a part of it.
    first_step: number of the batch that the reading begins with.
    number: of this job in the reading. While a resumed reading skips examples, a job gives
        `Skipping` in place of a batch.
    """

    stream: Stream
    first_step: int
    number: int

    def __call__(self, source: Source) -> object:
        reading = _streams.pop(self.stream, None)
        if reading is None or reading[0] != self.number:
            for other in [each for each in _streams if not self.stream.is_beside(each)]:
                del _streams[other]
            reading = (self.number, self.stream(source, self.first_step + self.number))
        batch = next(reading[1])
        _streams[self.stream] = (self.number + 1, reading[1])
        return batch


_streams: dict[Stream, tuple[int, Iterator[object]]] = {}
"""The stream that this process reads, by part: the number of the next job, and the batches."""


@dataclass(frozen=True)
class Waiting:
    """Nothing: a part of a stream that has ended waits for the others."""

    def __call__(self, source: Source) -> object:
        return None


def _unseeded(source: Source, indices: Sequence[int]) -> object:
    try:
        return source.gather(indices)
    except IsoflopError:
        raise
    except Exception as error:
        raise _unreadable(source, _culprits(source, indices), error) from error


def _seeded(
    source: Source,
    indices: Sequence[int],
    keys: Sequence[tuple[int, ...]],
    collate_key: tuple[int, ...] | None,
) -> object:
    """The batch of examples that are each read with random numbers of their own key.

    collate_key: key for a collate function that draws, too; None to leave the last example's.
    """
    examples = []
    for index, key in zip(indices, keys, strict=True):
        reseed(*key)
        examples.append(_example(source, index))
    if collate_key is not None:
        reseed(*collate_key)
    return source.batch_of(examples)


def _example(source: Source, index: int) -> object:
    try:
        return source.data[index]
    except IsoflopError:
        raise
    except Exception as error:
        raise _unreadable(source, [index], error) from error


def _culprits(source: Source, indices: Sequence[int]) -> Sequence[int]:
    """The first example that fails when read alone; all of them if none does."""
    for index in indices:
        try:
            gathered(source.data, [index])
        except Exception:  # of any kind: it is this example
            return [index]
    return indices


def _unreadable(source: Source, indices: Sequence[int], error: Exception) -> DataError:
    named = ", ".join(map(str, indices[:MOST_NAMED]))
    where = (
        f"example {named}"
        if len(indices) == 1
        else f"one of its examples {named}{', …' if len(indices) > MOST_NAMED else ''}"
    )
    return DataError(
        f"{source.name} must give every example that its length promises, but {where} raised "
        f"{type(error).__name__} ({first_line(error)}); repair it or leave it out."
    )
