"""The place of a run in its stream: noted beside the batches, kept in checkpoints, taken up again.

A stream's own state may not lead back to where it was, as that of a shuffle buffer without its
content. A place is therefore that before some trained batch. A resumed run reads this batch again,
and trusts the place only if the batch is the same.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple  # a batch and a state hold many types

import torch

from isoflop.training.device_copies import NUM_AHEAD

__all__ = ["Kept", "Placed", "Places", "Trail", "Turn", "digest"]

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
class Trail:
    """The latest batches of a stream, or of a part of it, and places before them.

    resumed: what the checkpoint knew, from which the run was resumed.
    """

    resumed: Kept | None = None
    _batches: deque[tuple[int, object]] = field(default_factory=lambda: deque(maxlen=NUM_RECENT))
    _places: deque[tuple[int, Mapping[str, Any]]] = field(default_factory=deque)

    def add(self, step: int, placed: Placed) -> None:
        """Note the batch of a step, and the place before it."""
        self._batches.append((step, placed.batch))
        if placed.place is not None:
            self._places.append((step, placed.place))
        while len(self._places) > 1 and self._places[1][0] <= step - NUM_RECENT:
            self._places.popleft()

    def kept(self, num_trained: int, num_ranks: int) -> Kept | None:
        """What a checkpoint after so many steps knows; None where the start is as good."""
        if self.resumed is not None and self.resumed.num_trained == num_trained:
            return self.resumed
        before = [each for each in self._places if each[0] < num_trained]
        last = dict(self._batches).get(num_trained - 1)
        if not before or last is None:
            return None
        step, place = before[-1]
        return Kept(place, step, num_trained, num_ranks, digest(last))


@dataclass(frozen=True)
class Turn:
    """Which part of a stream gives the next batch. Parts take turns, until all have ended.

    active: the parts with batches left in this pass.
    index: the place of the next one among them.
    taken: by part, its batches and ends of passes so far.
    num_passes: passes that are over.
    num_batches: batches of this pass so far.
    """

    active: list[int]
    index: int
    taken: list[int]
    num_passes: int = 0
    num_batches: int = 0

    @property
    def part(self) -> int:
        """The next part."""
        return self.active[self.index]

    def after(self, *, ends: bool) -> "Turn":
        """The turn after the next part has given a batch, or its end of the pass."""
        taken = [number + (part == self.part) for part, number in enumerate(self.taken)]
        if not ends:
            index = (self.index + 1) % len(self.active)
            return replace(self, taken=taken, index=index, num_batches=self.num_batches + 1)
        left = [part for part in self.active if part != self.part]
        if left:
            return replace(self, taken=taken, active=left, index=self.index % len(left))
        return Turn(list(range(len(taken))), 0, taken, self.num_passes + 1)


@dataclass
class Places:
    """The latest places of a run in its stream.

    resumed: what the checkpoint knew, as `kept` gave it.
    """

    num_ranks: int = 1
    resumed: Mapping[str, Any] | None = None
    trails: list[Trail] = field(default_factory=list)
    _turns: deque[tuple[int, Turn]] = field(default_factory=lambda: deque(maxlen=NUM_RECENT))

    def begin(self, first_step: int, num_parts: int) -> Turn | None:
        """The turn at a step; None for several parts if no checkpoint knows it."""
        held = self.resumed
        if held and held["num_trained"] == first_step and len(held["parts"]) == num_parts:
            kept = [None if each is None else Kept(**each) for each in held["parts"]]
            self.trails = [Trail(each) for each in kept]
            return Turn(**held["turn"])
        self.trails = [Trail() for _ in range(num_parts)]
        return Turn([0], 0, [first_step]) if num_parts == 1 else None

    def add(self, step: int, turn: Turn) -> None:
        """Note the turn after a step."""
        self._turns.append((step, turn))

    def kept(self, num_trained: int) -> Mapping[str, Any] | None:
        """What a checkpoint after so many steps knows; None for data that are no stream."""
        if self.resumed is not None and self.resumed["num_trained"] == num_trained:
            return self.resumed
        turn = dict(self._turns).get(num_trained - 1)
        if turn is None:
            return None
        kept = [
            trail.kept(taken, self.num_ranks)
            for trail, taken in zip(self.trails, turn.taken, strict=True)
        ]
        parts = [None if each is None else vars(each) for each in kept]
        return {"num_trained": num_trained, "turn": vars(turn), "parts": parts}


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
