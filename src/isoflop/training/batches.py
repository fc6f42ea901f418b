"""The batches of each step: a pure function of (seed, step), for any number of processes."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from isoflop.errors import DataError
from isoflop.training.jobs import DrawnBatch, HeldOutBatch, JointBatches, StreamBatch, TrainingBatch
from isoflop.training.measured_reading import read_as_needed
from isoflop.training.order import Indices, epoch_and_index
from isoflop.training.reading import is_read_here, read
from isoflop.user_code.data import Source, num_examples_in, sliced
from isoflop.user_code.loaders import Drawn
from isoflop.user_code.randomness import draws_random_numbers, mix, reseed

__all__ = ["held_out_batches", "packed_batches", "part_of", "training_batches"]

PERMUTED_AT_ONCE = 4096
"""Positions per call: a call costs 0.5 ms for 4 (a tenth of a small step), 1 ms for 4,096."""

Share = tuple[int, int]
"""Rank and number of processes."""


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
) -> Generator[object, None, None]:
    """The batches of a run from a step on, without end.

    share: (rank, number of processes). Each process gets its part of every batch; the part is None
        if the batch has fewer examples than processes.

    Raises DataError if a stream ends before the run does and another pass is not allowed.
    """
    if source.kind == "examples":
        return _from_examples(source, batch, seed, first_step, share)
    if isinstance(source.data, Drawn):
        jobs = _drawn(source, source.data, seed, first_step * batch, epochs, batch, share)
        return read(replace(source, data=source.data.dataset), jobs)
    stream = _Stream(batch, seed, epochs, share)
    if is_read_here(source):
        return stream(source, first_step)
    one = replace(source, workers=replace(source.workers, num_workers=1))  # it reads in order
    return read(one, (StreamBatch(stream, step) for step in count(first_step)))


@dataclass(frozen=True)
class _Stream:
    """The batches of a stream, or of a callable that makes its own."""

    batch: int
    seed: int
    epochs: float | None
    share: Share

    def __call__(self, source: Source, first_step: int) -> Generator[object, None, None]:
        items = _endless(source, self.seed, self.epochs)
        if source.kind == "batches":
            return (_part(whole, self.share) for whole in islice(items, first_step, None))
        rest = islice(items, first_step * self.batch, None)
        return _grouped(source, rest, self.batch, self.share)


def _bounds(batch: int, share: Share) -> tuple[int, int]:
    """First and last (exclusive) index of a process's part; parts differ by at most one example."""
    rank, num_ranks = share
    return batch * rank // num_ranks, batch * (rank + 1) // num_ranks


def _part(whole: object, share: Share) -> object:
    """A process's part of a whole batch."""
    if share[1] == 1:
        return whole
    num_examples = num_examples_in(whole)
    first, last = _bounds(num_examples, share)
    return sliced(whole, slice(first, last), num_examples) if last > first else None


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
    first, last = _bounds(batch, share)
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
    places = islice(_numbered(order, seed, epochs), first, None)
    low, high = _bounds(batch, share)
    while True:
        own = list(islice(places, batch))[low:high]
        yield DrawnBatch(seed, [place[:2] for place in own], [place[2] for place in own])


def _endless(source: Source, seed: int, epochs: float | None) -> Iterator[object]:
    """Items of a stream or batches of a callable, started again for as many passes as allowed."""
    return (item for _, _, item in _numbered(source, seed, epochs))


def _numbered(source: Source, seed: int, epochs: float | None) -> Iterator[tuple[int, int, object]]:
    """Number of the pass, number of the item within it, and the item."""
    num_passes = 0
    while True:
        num_items = 0
        reseed(seed, num_passes)  # some streams draw their order at the start
        items = source.iterate(int(mix(seed, num_passes) % 2**31))
        while True:
            reseed(seed, num_passes, num_items)
            try:
                item = next(items)
            except StopIteration:
                break
            yield num_passes, num_items, item
            num_items += 1
        num_passes += 1
        if num_items == 0:
            raise DataError(
                f"{source.name} must yield examples in every pass, but pass {num_passes} yielded "
                f"none; give data that can be iterated over again."
            )
        if epochs is not None and num_passes >= epochs:
            raise DataError(
                f"{source.name} ended after {num_passes} pass{'es' if num_passes > 1 else ''} of "
                f"{num_items} items, before the run's tokens were trained; bring more data, or "
                f"allow more passes with Recipe(epochs=None)."
            )


def _grouped(
    source: Source, items: Iterator[object], batch: int, share: Share
) -> Generator[object, None, None]:
    first, last = _bounds(batch, share)
    while True:
        own = list(islice(items, batch))[first:last]
        yield source.batch_of(own) if own else None


def held_out_batches(
    source: Source, num_examples: int, num_batches: int, key: int
) -> Iterator[object]:
    """A fixed held-out set in about `num_batches` batches.

    Its examples are spread evenly over the data, or the first of a stream. Every run sees the same
    ones; none is repeated or padded.

    key: random key of draws in the data themselves.
    """
    if source.kind == "batches":
        return _batches_of(source, num_examples, key)
    batch = max(1, -(-num_examples // num_batches))
    if source.kind == "stream":
        return _collated(source, islice(_reseeded(source, key), num_examples), batch)
    total = source.num_examples or 0
    chosen: list[int] = (
        np.unique(np.linspace(0, total - 1, min(num_examples, total)).round()).astype(int).tolist()
    )
    groups = (chosen[first : first + batch] for first in range(0, len(chosen), batch))
    return read_as_needed(source, (HeldOutBatch(key, indices) for indices in groups))


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


def _collated(source: Source, examples: Iterator[object], batch: int) -> Iterator[object]:
    while group := list(islice(examples, batch)):
        yield source.batch_of(group)


def _batches_of(source: Source, num_examples: int, key: int) -> Iterator[object]:
    seen = 0
    for batch in _reseeded(source, key):
        yield batch
        seen += num_examples_in(batch)
        if seen >= num_examples:
            return
