"""The batches of each step: a pure function of (seed, step), for any number of processes."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from isoflop.training.jobs import DrawnBatch, HeldOutBatch, JointBatches, TrainingBatch
from isoflop.training.measured_reading import read_as_needed
from isoflop.training.order import Indices, epoch_and_index
from isoflop.training.places import Places
from isoflop.training.reading import read
from isoflop.training.streams import Passes, Share, Stream, bounds
from isoflop.training.turns import stream_batches
from isoflop.training.watchdog import beat
from isoflop.user_code.data import Source, num_examples_in
from isoflop.user_code.loaders import Drawn
from isoflop.user_code.randomness import draws_random_numbers, reseed

__all__ = ["HeldOut", "held_out_batches", "packed_batches", "part_of", "training_batches"]

T = TypeVar("T")
Group = TypeVar("Group")

PERMUTED_AT_ONCE = 4096
"""Positions per call: a call costs 0.5 ms for 4 (a tenth of a small step), 1 ms for 4,096."""


class Examples(Protocol):
    """Data by index."""

    def __getitem__(self, index: int, /) -> object: ...


def training_batches(
    source: Source,
    batch: int,
    seed: int,
    first_step: int,
    epochs: float | None,
    share: Share = (0, 1),
    places: Places | None = None,
) -> Generator[object, None, None]:
    """The batches of a run from a step on, without end.

    share: (rank, number of processes). Each process gets its part of every batch; the part is None
        if the batch has fewer examples than processes.
    places: notes the places in a stream, and knows that from which a resumed run reads on.

    Raises DataError if a stream ends before the run does and another pass is not allowed.
    """
    if source.kind == "examples":
        return _from_examples(source, batch, seed, first_step, share)
    if isinstance(source.data, Drawn):
        jobs = _drawn(source, source.data, seed, first_step * batch, epochs, batch, share)
        return read(replace(source, kind="examples", data=source.data.dataset), jobs)
    stream = Stream(batch, seed, epochs, share)
    return stream_batches(source, stream, first_step, places or Places())


def part_of(source: Source, num_examples: int, seed: int) -> Source:
    """The source with a random part of its examples; a smaller part lies inside a larger one."""
    _, chosen = epoch_and_index(seed, np.arange(num_examples), source.num_examples or 0)
    return replace(source, data=_Part(source.data, chosen), num_examples=num_examples)


class _Part:
    """Examples by their index in a part of the data."""

    def __init__(self, whole: Examples, chosen: Indices) -> None:
        self.whole, self.chosen = whole, chosen

    def __getitem__(self, index: int) -> object:
        return self.whole[int(self.chosen[index])]

    def __getitems__(self, indices: Sequence[int]) -> object:
        chosen = self.chosen[list(indices)].tolist()
        together = getattr(self.whole, "__getitems__", None)
        return [self.whole[index] for index in chosen] if together is None else together(chosen)


def _from_examples(
    source: Source, batch: int, seed: int, step: int, share: Share
) -> Generator[object, None, None]:
    whole, _ = _whole_of(source)
    return read_as_needed(whole, _example_jobs(source, batch, seed, step, share))


def packed_batches(
    sources: Sequence[Source], batch: int, seeds: Sequence[int], first_steps: Sequence[int]
) -> Generator[object, None, None]:
    """At each step a list of the batches of several runs, read together by index.

    sources: of one data set, or of parts of it; seeds and first_steps: of each run.
    """
    jobs = [
        _example_jobs(source, batch, seed, step)
        for source, seed, step in zip(sources, seeds, first_steps, strict=True)
    ]
    whole, _ = _whole_of(sources[0])
    return read_as_needed(whole, map(JointBatches, zip(*jobs, strict=True)))


def _example_jobs(
    source: Source, batch: int, seed: int, step: int, share: Share = (0, 1)
) -> Iterator[TrainingBatch]:
    whole, chosen = _whole_of(source)
    seed_of_draws = seed if _draws(whole) else None
    return (
        TrainingBatch(
            seed_of_draws,
            epochs.tolist(),
            (indices if chosen is None else chosen[indices]).tolist(),
        )
        for epochs, indices in _order(seed, batch, source.num_examples or 0, step, share)
    )


def _whole_of(source: Source) -> tuple[Source, Indices | None]:
    """The source of all examples, and the indices of the part in it; None for all."""
    if isinstance(source.data, _Part):
        return replace(source, data=source.data.whole), source.data.chosen
    return source, None


def _draws(source: Source) -> bool:
    """Whether the examples draw random numbers; read off the first ones, once per data set."""
    try:
        known = _drawing.get(source.data)
    except TypeError:  # it cannot be referred to weakly, as a list
        return _first_draw(source)
    if known is None:
        known = _drawing[source.data] = _first_draw(source)
    return known


_drawing: WeakKeyDictionary[object, bool] = WeakKeyDictionary()


def _first_draw(source: Source) -> bool:
    first = range(min(8, len(source.data)))
    return draws_random_numbers(lambda: TrainingBatch(None, first, first)(source))


def _order(
    seed: int, batch: int, num_examples: int, step: int, share: Share
) -> Iterator[tuple[Indices, Indices]]:
    """Epochs and indices of a process's part of each step's batch, from a step on.

    Many steps are permuted in one call.
    """
    first, last = bounds(batch, share)
    num_steps = max(1, PERMUTED_AT_ONCE // max(1, last - first))
    while True:
        positions = np.arange(step, step + num_steps)[:, None] * batch + np.arange(first, last)
        epochs, indices = epoch_and_index(seed, positions.ravel(), num_examples)
        yield from zip(
            epochs.reshape(positions.shape), indices.reshape(positions.shape), strict=True
        )
        step += num_steps


def _drawn(
    source: Source,
    drawn: Drawn,
    seed: int,
    first: int,
    epochs: float | None,
    batch: int,
    share: Share,
) -> Iterator[DrawnBatch]:
    """Jobs for the examples in the order of the user's sampler, from a position on."""
    order = replace(source, kind="stream", data=drawn.sampler)
    passes = Passes(order, seed, epochs)
    for _ in islice(passes, first):
        beat()  # so many may take longer than any step
    low, high = bounds(batch, share)
    places = ((passes.number, passes.num_items - 1, index) for index in passes)
    while True:
        own = list(islice(places, batch))[low:high]
        yield DrawnBatch(seed, [place[:2] for place in own], [place[2] for place in own])


class HeldOut(NamedTuple):
    """A batch of the held-out set.

    is_own: whether this process counts it; False for one that it takes beside another process.
    """

    number: int
    batch: object
    is_own: bool


def held_out_batches(
    source: Source,
    num_examples: int,
    num_batches: int,
    key: int,
    share: Share = (0, 1),
    *,
    together: bool = False,
) -> Iterator[HeldOut]:
    """The batches of one process of a fixed held-out set, which has about `num_batches` of them.

    Its examples are spread evenly over the data, or the first of a stream. Every run sees the same
    ones; none is repeated or padded. Examples of other processes are not read, those of a stream
    not collated.

    key: random key of draws in the data themselves.
    share: (rank, number of processes); they take turns.
    together: all processes get equally many. One without a batch of its own in the last turn gets
        the first process's.
    """
    if source.kind == "batches":
        whole = _up_to(_reseeded(source, key), num_examples)
        return _in_turns(whole, lambda batch: batch, share, together)
    batch = max(1, -(-num_examples // num_batches))
    if source.kind == "stream":
        groups = _grouped(islice(_reseeded(source, key), num_examples), batch)
        return _in_turns(groups, source.batch_of, share, together)
    total = source.num_examples or 0
    chosen: list[int] = (
        np.unique(np.linspace(0, total - 1, min(num_examples, total)).round()).astype(int).tolist()
    )
    jobs = list(
        _in_turns(_grouped(iter(chosen), batch), partial(HeldOutBatch, key), share, together)
    )
    read_ones = read_as_needed(source, (job for _, job, _ in jobs))  # type: ignore[misc]
    return (each._replace(batch=found) for each, found in zip(jobs, read_ones, strict=True))


def _in_turns(
    groups: Iterable[Group], make: Callable[[Group], object], share: Share, together: bool
) -> Iterator[HeldOut]:
    """What is made of each group of this process."""
    rank, num_ranks = share
    left_out: tuple[int, Group] | None = None
    for number, group in enumerate(groups):
        if number % num_ranks == 0:
            left_out = number, group
        if number % num_ranks == rank:
            left_out = None
            yield HeldOut(number, make(group), is_own=True)
    if together and left_out is not None:
        yield HeldOut(left_out[0], make(left_out[1]), is_own=False)


def _reseeded(source: Source, key: int) -> Iterator[object]:
    """The items of one pass, the same for every run, independent of its earlier draws."""
    reseed(key)
    items = source.iterate(0)
    for number in count():
        reseed(key, number)
        try:
            item = next(items)
        except StopIteration:
            return
        yield item


def _grouped(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while group := list(islice(items, size)):
        yield group


def _up_to(batches: Iterator[object], num_examples: int) -> Iterator[object]:
    """The batches until they have so many examples."""
    seen = 0
    for batch in batches:
        yield batch
        seen += num_examples_in(batch)
        if seen >= num_examples:
            return
