"""ReadingSpeed: the time that a batch of a task's data takes to fetch and collate, measured."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice
from typing import TypeVar

import numpy as np

from isoflop.counting.cores import num_cores
from isoflop.user_code.data import Source, num_examples_in
from isoflop.user_code.loaders import gathered
from isoflop.user_code.randomness import draws_random_numbers, reseed

__all__ = ["MeasuredReading", "ReadingSpeed", "measure_reading"]

Result = TypeVar("Result")

PROBE_SECONDS = 0.2
"""Time after which no more items are read."""
MOST_PROBED = 1024
"""Most examples of a batch that is read to be timed."""
NUM_TIMED = 3
"""Batches timed, where they are quick."""
DRAW_TEST = 8
"""Examples that a run reads at its start, to see whether they draw random numbers."""
TRANSFER_SECONDS = 3e-4
"""From a loader's worker to the training process, per small batch: an assumption."""
WORKER_START_SECONDS = 0.03
"""Start of a worker process of a loader, by forking: an assumption."""


@dataclass(frozen=True, kw_only=True)
class ReadingSpeed:
    """Seconds to fetch and collate a batch in one process, and what a loader's workers save.

    batch_seconds, example_seconds: of each batch, and of each of its examples.
    busy: share of that time in which the processor works; the rest is waiting, as for a disk.
    num_workers: processes that read; 0 for the training process itself.
    num_cores: processor cores that the workers share with the training process.
    start: seconds before the first batch, without the start of the workers.
    """

    batch_seconds: float = 0.0
    example_seconds: float = 0.0
    busy: float = 1.0
    num_workers: int = 0
    num_cores: int = 1
    start: float = 0.0

    def seconds(self, num_examples: float) -> float:
        """Of reading a batch in one process."""
        return self.batch_seconds + num_examples * self.example_seconds

    def waiting(self, step_seconds: float, num_examples: float) -> float:
        """Time that reading adds to a step.

        Workers read ahead: the step waits for the slowest of its own work, the workers, and the
        cores that they share.
        """
        reading = self.seconds(num_examples)
        if self.num_workers == 0:
            return reading
        own = step_seconds + TRANSFER_SECONDS
        cores = min(self.num_cores, self.num_workers + 1)
        shared = (own + TRANSFER_SECONDS + self.busy * reading) / cores
        return max(own, reading / self.num_workers, shared) - step_seconds

    @property
    def start_seconds(self) -> float:
        """Before the first batch."""
        return self.start + WORKER_START_SECONDS * self.num_workers


@dataclass(frozen=True)
class MeasuredReading:
    """A measured speed, and a batch that was read.

    num_examples: of the batch.
    """

    speed: ReadingSpeed
    batch: object
    num_examples: int


@dataclass(frozen=True)
class _Taken:
    """Seconds by the wall clock and of this thread's processor time."""

    wall: float
    busy: float

    def __add__(self, other: "_Taken") -> "_Taken":
        return _Taken(self.wall + other.wall, self.busy + other.busy)

    def times(self, factor: float) -> "_Taken":
        return _Taken(factor * self.wall, factor * self.busy)


def measure_reading(
    source: Source, batches: Sequence[int], *, held_out: bool = False
) -> MeasuredReading:
    """The time of reading batches of a source as a run reads them, from a few real ones.

    batches: numbers of examples of a batch, the smallest and the largest; the source's own for data
        that come in batches.
    held_out: whether an evaluation reads them, which gives each example random numbers of its own.
    """
    seeded = held_out or _draws(source)
    read = _reader(source, seeded)
    if source.kind == "batches":
        items = _timed_items(read, NUM_TIMED)
        return MeasuredReading(
            _of_batches(items, source), items.items[-1], num_examples_in(items.items[-1])
        )
    numbers = sorted({min(one, MOST_PROBED) for one in batches})
    items = _timed_items(read, numbers[-1])
    timed = [_timed_batch(source, items, number, seeded) for number in numbers]
    points = [(number, taken) for number, (_, taken) in zip(numbers, timed, strict=True)]
    start = items.start.wall if source.kind == "stream" else _draw_test(source, items)
    return MeasuredReading(_line(points, source, start), timed[-1][0], numbers[-1])


@dataclass(frozen=True)
class _Items:
    """Items that were read, the time of each, and what the first took besides.

    is_quick: whether all of them were read before the time was up.
    """

    items: list[object]
    each: _Taken
    start: _Taken
    is_quick: bool


def _timed_items(read: Callable[[int], list[object]], most: int) -> _Items:
    """Read 1, 1, 2, 4, 8 items and so on: the last number of them tells what each takes."""
    items, first = _timed(partial(read, 1))
    spent, number, each = first, 1, first
    while len(items) < most + 1 and (number == 1 or spent.wall < PROBE_SECONDS):
        more, taken = _timed(partial(read, number))
        items, spent, each = [*items, *more], spent + taken, taken.times(1 / number)
        number *= 2
    start = _Taken(max(0.0, first.wall - each.wall), max(0.0, first.busy - each.busy))
    return _Items(items, each, start, len(items) > most)


def _reader(source: Source, seeded: bool) -> Callable[[int], list[object]]:
    """A function that reads the next items, in random order where a run does."""
    if source.kind != "examples":
        endless = _endless(source)
        return lambda number: list(islice(endless, number))
    random, length = np.random.default_rng(1), source.num_examples or 1

    def read(number: int) -> list[object]:
        indices = random.integers(length, size=number).tolist()
        return (
            [_seeded_item(source, index) for index in indices]
            if seeded
            else gathered(source.data, indices)
        )

    return read


def _seeded_item(source: Source, index: int) -> object:
    reseed(0, index)
    item: object = source.data[index]
    return item


def _endless(source: Source) -> Iterator[object]:
    while True:
        items = source.iterate(0)
        for number in count():
            reseed(0, number)
            try:
                yield next(items)
            except StopIteration:
                break
        if number == 0:
            return


def _draws(source: Source) -> bool:
    return source.kind == "examples" and draws_random_numbers(lambda: source.gather([0]))


def _draw_test(source: Source, items: _Items) -> float:
    return items.each.wall * min(DRAW_TEST, source.num_examples or 0)


def _timed_batch(source: Source, items: _Items, number: int, seeded: bool) -> tuple[object, _Taken]:
    """A batch of some examples, read again as a whole where that is quick and how a run reads."""
    if source.kind == "examples" and items.is_quick and not seeded:
        random, length = np.random.default_rng(2), source.num_examples or 1
        return _repeated(lambda: source.gather(random.integers(length, size=number).tolist()))
    chosen = list(islice(cycle(items.items), number))
    batch, collating = _repeated(lambda: source.batch_of(chosen))
    return batch, items.each.times(number) + collating


def _repeated(call: Callable[[], object]) -> tuple[object, _Taken]:
    """The result of a call and its time, the middle one of a few where it is quick."""
    result, taken = _timed(call)
    if taken.wall < PROBE_SECONDS / 2:
        times = sorted((_timed(call)[1] for _ in range(NUM_TIMED)), key=lambda one: one.wall)
        taken = times[NUM_TIMED // 2]
    return result, taken


def _of_batches(items: _Items, source: Source) -> ReadingSpeed:
    return ReadingSpeed(
        batch_seconds=items.each.wall,
        busy=_share(items.each),
        num_workers=source.num_readers,
        num_cores=num_cores(),
        start=items.start.wall,
    )


def _line(
    points: Sequence[tuple[int, _Taken]], source: Source, start_seconds: float
) -> ReadingSpeed:
    """The speed through the times of two batches."""
    (fewest, low), (most, high) = points[0], points[-1]
    per_example = high.wall / most
    if most > fewest:
        per_example = min(per_example, max(0.0, (high.wall - low.wall) / (most - fewest)))
    return ReadingSpeed(
        batch_seconds=high.wall - most * per_example,
        example_seconds=per_example,
        busy=_share(high),
        num_workers=source.num_readers,
        num_cores=num_cores(),
        start=start_seconds,
    )


def _share(taken: _Taken) -> float:
    return min(1.0, taken.busy / taken.wall) if taken.wall > 0 else 1.0


def _timed(call: Callable[[], Result]) -> tuple[Result, _Taken]:
    wall, busy = time.perf_counter(), time.thread_time()
    result = call()
    return result, _Taken(time.perf_counter() - wall, time.thread_time() - busy)
