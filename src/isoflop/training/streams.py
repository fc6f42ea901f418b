"""Streams, and callables that make batches, read in order from any step."""

import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any  # states hold many types

from isoflop.errors import DataError, first_line
from isoflop.training.notices import print_notice
from isoflop.training.places import Kept, Placed, digest
from isoflop.user_code.data import Source, num_examples_in, sliced
from isoflop.user_code.randomness import mix, reseed
from isoflop.user_code.stream_parts import part_of_stream

__all__ = ["PassEnd", "Passes", "Share", "Skipping", "Stream", "bounds"]

Share = tuple[int, int]
"""Rank and number of processes."""

COST_RATIO = 50
"""Time between two places over the time that one takes: noting them costs 2 % of the time."""
SKIP_SECONDS = 1.0
"""How often a resumed reading says that it still skips what was trained on before."""


def bounds(batch: int, share: Share) -> tuple[int, int]:
    """First and last (exclusive) index of a process's part; parts differ by at most one example."""
    rank, num_ranks = share
    return batch * rank // num_ranks, batch * (rank + 1) // num_ranks


@dataclass(frozen=True)
class PassEnd:
    """In place of a batch: a pass over a part of a stream has ended."""


@dataclass(frozen=True)
class Skipping:
    """In place of a batch, which is yet to come: examples before it are still read for nothing."""


@dataclass(frozen=True)
class Stream:
    """The batches of a stream, or of a callable that makes its own.

    kept: the place from which a resumed run reads on.
    part: number of the part of the stream to read, of `num_parts`. The last batch of a pass over a
        part may be short, and a `PassEnd` follows it. Batches of a whole stream go on in its next
        pass.

    Before the first batch there may be some `Skipping`.
    """

    batch: int
    seed: int
    epochs: float | None
    share: Share
    kept: Kept | None = field(default=None, compare=False)
    part: int = 0
    num_parts: int = 1

    def is_beside(self, other: "Stream") -> bool:
        """Whether another is the same or another part of the same reading."""
        return replace(other, part=self.part) == self

    def __call__(self, source: Source, first_step: int) -> Generator[Placed, None, None]:
        if self.num_parts > 1:
            data = part_of_stream(source.data, self.part, self.num_parts)
            source = replace(source, data=data)
        passes = yield from self._taken_up(source, first_step)
        if passes is None:
            passes = yield from self._from_start(source, first_step)
        noted_at, cost = -math.inf, 0.0
        while True:
            place = None
            if time.perf_counter() - noted_at >= COST_RATIO * cost:
                began = time.thread_time()  # other processes may hold up this one
                place = passes.place()
                noted_at, cost = time.perf_counter(), time.thread_time() - began
            yield Placed(self._next(source, passes), place)

    def _next(self, source: Source, passes: "Passes") -> object:
        """The part of the next batch that this process trains on."""
        if source.kind == "batches":
            return _part(next(passes), self.share)
        if self.num_parts == 1:
            items = list(islice(passes, self.batch))
        elif not (items := passes.within_pass(self.batch)):
            return PassEnd()
        first, last = bounds(len(items), self.share)
        own = items[first:last]
        return source.batch_of(own) if own else None

    def _passes(self, source: Source, place: Mapping[str, Any] | None = None) -> "Passes":
        if self.num_parts == 1:
            return Passes(source, self.seed, self.epochs, place)
        return Passes(source, mix(self.seed, self.part), None, place)

    def _from_start(self, source: Source, first_step: int) -> Generator[Placed, None, "Passes"]:
        passes = self._passes(source)
        if self.num_parts > 1:
            yield from _skipping(passes.within_pass(self.batch) for _ in range(first_step))
        else:
            num_items = first_step * (1 if source.kind == "batches" else self.batch)
            yield from _skipping(islice(passes, num_items))
        return passes

    def _taken_up(
        self, source: Source, first_step: int
    ) -> Generator[Placed, None, "Passes | None"]:
        """The stream after the last batch trained, or None if its state does not lead there."""
        kept = self.kept
        if kept is None or kept.num_trained != first_step:
            return None
        before = replace(self, share=(0, kept.num_ranks))
        try:
            passes = self._passes(source, kept.place)
            yield from _skipping(islice(passes, kept.place["skip"]))
            batches = [before._next(source, passes) for _ in range(kept.step, first_step)]
            if digest(batches[-1]) == kept.last:
                return passes
            reason = "led to other examples"
        except Exception as error:  # of any kind: the user's code decides
            reason = f"raised {type(error).__name__} ({first_line(error)})"
        if self.share[0] == 0:
            print_notice(
                f"The state of {source.name} {reason}, so the resumed run reads from its start."
            )
        return None


def _skipping(read: Iterable[object]) -> Iterator[Placed]:
    """Read some items for nothing, and say now and then that this goes on."""
    told = time.perf_counter()
    for _ in read:
        if time.perf_counter() - told >= SKIP_SECONDS:
            yield Placed(Skipping(), None)
            told = time.perf_counter()


def _part(whole: object, share: Share) -> object:
    """A process's part of a whole batch."""
    if share[1] == 1:
        return whole
    num_examples = num_examples_in(whole)
    first, last = bounds(num_examples, share)
    return sliced(whole, slice(first, last), num_examples) if last > first else None


class Passes:
    """Items of a stream or batches of a callable, started again for as many passes as allowed.

    Each item draws its random numbers from seed, pass and number within the pass.

    place: what `place` gave, to go on from there once the items that it skips are read.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        epochs: float | None,
        place: Mapping[str, Any] | None = None,
    ) -> None:
        self.source, self.seed, self.epochs = source, seed, epochs
        self.number, self.num_items = 0, 0
        self.is_kept, self.has_ended = True, False
        if place is None:
            self._open()
        else:
            self.number, self.num_items = place["pass"], place["item"]
            self._open(place["state"])

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        while True:
            reseed(self.seed, self.number, self.num_items)
            try:
                item = next(self._items)
            except StopIteration:
                self._begin_pass()
                continue
            self.num_items += 1
            return item

    def within_pass(self, num_items: int) -> list[object]:
        """The next items of this pass; none at its end, and then those of the next pass."""
        items: list[object] = []
        while not self.has_ended and len(items) < num_items:
            reseed(self.seed, self.number, self.num_items)
            try:
                items.append(next(self._items))
                self.num_items += 1
            except StopIteration:
                self.has_ended = True
        if not items:
            self.has_ended = False
            self.number, self.num_items = self.number + 1, 0
            self._open()
        return items

    def place(self) -> dict[str, Any]:
        """The place before the next item, as plain data; the pass's start if it has no state."""
        state = self._state() if self.num_items and self.is_kept else None
        item, skip = (0, self.num_items) if state is None else (self.num_items, 0)
        return {"pass": self.number, "item": item, "skip": skip, "state": state}

    def _open(self, state: Mapping[str, Any] | None = None) -> None:
        reseed(self.seed, self.number)  # some streams draw their order at the start
        self._items = self.source.opened(int(mix(self.seed, self.number) % 2**31), state)

    def _state(self) -> dict[str, Any] | None:
        try:
            return self._items.state()
        except Exception as error:  # of any kind: the user's code decides
            print_notice(
                f"The state of {self.source.name} cannot be kept in checkpoints "
                f"({first_line(error)}), so a resumed run reads from the start of a pass."
            )
            self.is_kept = False
            return None

    def _begin_pass(self) -> None:
        self.number += 1
        name, num_items = self.source.name, self.num_items
        if num_items == 0:
            raise DataError(
                f"{name} must yield examples in every pass, but pass {self.number} yielded "
                f"none; give data that can be iterated over again."
            )
        if self.epochs is not None and self.number >= self.epochs:
            raise DataError(
                f"{name} ended after {self.number} pass{'es' if self.number > 1 else ''} of "
                f"{num_items} items, before the run's tokens were trained; bring more data, or "
                f"allow more passes with Recipe(epochs=None)."
            )
        self.num_items = 0
        self._open()
