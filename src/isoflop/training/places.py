"""The place of a run in its stream: noted beside the batches, kept in checkpoints, taken up again.

A stream's own state may not lead back to where it was, as that of a shuffle buffer without its
content. A place is therefore that before some trained batch. A resumed run reads this batch again,
and trusts the place only if the batch is the same.
"""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple  # a batch and a state hold many types

import torch

from isoflop.training.device_copies import NUM_AHEAD

__all__ = ["Kept", "Placed", "Places", "digest"]

DIGEST_BYTES = 16
NUM_RECENT = NUM_AHEAD + 2
"""Batches among which the last trained one is, with those that are read ahead of it."""


class Placed(NamedTuple):
    """A batch of a stream, and the place before it; None where that was not noted."""

    batch: object
    place: Mapping[str, Any] | None


@dataclass(frozen=True)
class Kept:
    """What a checkpoint knows about a stream.

    place: the place before the batch of step `step`.
    step: number of that step.
    num_trained: steps that were trained at the checkpoint.
    num_ranks: processes among which batches were split.
    last: digest of the first process's part of the last batch trained.
    """

    place: Mapping[str, Any]
    step: int
    num_trained: int
    num_ranks: int
    last: str


@dataclass
class Places:
    """The latest places of a run in its stream.

    resumed: what the checkpoint knew, from which the run was resumed.
    """

    resumed: Kept | None = None
    num_ranks: int = 1
    _batches: deque[tuple[int, object]] = field(default_factory=lambda: deque(maxlen=NUM_RECENT))
    _places: deque[tuple[int, Mapping[str, Any]]] = field(default_factory=deque)

    def noted(
        self, placed: Generator[Placed, None, None], first_step: int
    ) -> Generator[object, None, None]:
        """The batches of a stream from a step on; their places are noted."""
        with closing(placed):
            for step, (batch, place) in zip(count(first_step), placed, strict=False):
                self._batches.append((step, batch))
                if place is not None:
                    self._places.append((step, place))
                while len(self._places) > 1 and self._places[1][0] <= step - NUM_RECENT:
                    self._places.popleft()
                yield batch

    def kept(self, num_trained: int) -> Kept | None:
        """What a checkpoint after so many steps needs to know; None for data that are no stream."""
        if self.resumed is not None and self.resumed.num_trained == num_trained:
            return self.resumed
        before = [each for each in self._places if each[0] < num_trained]
        last = dict(self._batches).get(num_trained - 1)
        if not before or last is None:
            return None
        step, place = before[-1]
        return Kept(place, step, num_trained, self.num_ranks, digest(last))


def digest(batch: object) -> str:
    """A hash of all values in a batch."""
    held = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in _bytes_of(batch):
        held.update(part)
    return held.hexdigest()


def _bytes_of(value: Any) -> Iterable[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield repr(key).encode()
            yield from _bytes_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _bytes_of(each)
    else:
        yield repr(value).encode()
