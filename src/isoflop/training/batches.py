"""The batches of each step: a pure function of (seed, step), for any number of processes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isoflop.errors import DataError
from isoflop.training.reading import in_workers
from isoflop.user_code.data import Source, num_examples_in, sliced
from isoflop.user_code.randomness import draws_random_numbers, mix, reseed

__all__ = ["epoch_and_index", "held_out_batches", "part_of", "training_batches"]

NUM_ROUNDS = 6
"""Rounds of the Feistel network: four give a pseudo-random permutation (Luby & Rackoff 1988).

Two more are margin.
"""

PERMUTED_AT_ONCE = 4096
"""Positions per call: a call costs 0.5 ms for 4 (a tenth of a small step), 1 ms for 4,096."""

Indices = NDArray[np.int64]


class Examples(Protocol):
    """Data by index."""

    def __getitem__(self, index: int, /) -> object: ...


def epoch_and_index(seed: int, positions: Indices, num_examples: int) -> tuple[Indices, Indices]:
    """The epoch and the example at each position of the endless training order.

    Every epoch is a new permutation of the examples.
    """
    epochs, offsets = np.divmod(positions, num_examples)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _permuted(offsets[here], num_examples, mix(seed, int(epoch)))
    return epochs, indices


def _permuted(offsets: Indices, size: int, key: int) -> Indices:
    """Values of a pseudo-random permutation of range(size) at some offsets.

    A Feistel network with cycle walking; the permutation itself is never held in memory.
    """
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    values = offsets.astype(np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():  # on average fewer than four rounds, since 4^half < 4 size
        values[outside] = _feistel(values[outside], half, key)
        outside = values >= size
    return values.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, key: int) -> NDArray[np.uint64]:
    mask, shift = np.uint64(2**half - 1), np.uint64(half)
    left, right = values >> shift, values & mask
    for turn in range(NUM_ROUNDS):
        left, right = right, left ^ (_hash(right ^ np.uint64(mix(key, turn))) & mask)
    return (left << shift) | right


def _hash(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def training_batches(
    source: Source,
    batch: int,
    seed: int,
    first_step: int,
    epochs: float | None,
    share: tuple[int, int] = (0, 1),
) -> Iterator[object]:
    """The batches of a run from a step on, without end.

    share: (rank, number of processes). Each process gets its part of every batch; the part is None
        if the batch has fewer examples than processes.

    Raises DataError if a stream ends before the run does and another pass is not allowed.
    """
    if source.kind == "examples":
        return _from_examples(source, batch, seed, first_step, share)
    items = _endless(source, seed, epochs)
    if source.kind == "batches":
        return (_part(whole, share) for whole in islice(items, first_step, None))
    return _grouped(source, islice(items, first_step * batch, None), batch, share)


def _bounds(batch: int, share: tuple[int, int]) -> tuple[int, int]:
    """First and last (exclusive) index of a process's part; parts differ by at most one example."""
    rank, num_ranks = share
    return batch * rank // num_ranks, batch * (rank + 1) // num_ranks


def _part(whole: object, share: tuple[int, int]) -> object:
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
    source: Source, batch: int, seed: int, step: int, share: tuple[int, int]
) -> Iterator[object]:
    num_examples = source.num_examples or 0
    random = draws_random_numbers(lambda: source.gather(range(min(8, num_examples))))
    job = partial(_gathered, source, seed if random else None)
    return in_workers(job, _order(seed, batch, num_examples, step, share), source.num_workers)


def _gathered(source: Source, seed: int | None, order: tuple[Indices, Indices]) -> object:
    """The batch of some epochs and indices; None if there are none.

    seed: None if examples draw no random numbers.
    """
    epochs, indices = order
    if len(indices) == 0:
        return None
    return (
        source.gather(indices.tolist())
        if seed is None
        else _gather_seeded(source, seed, epochs, indices)
    )


def _order(
    seed: int, batch: int, num_examples: int, step: int, share: tuple[int, int]
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


def _gather_seeded(source: Source, seed: int, epochs: Indices, indices: Indices) -> object:
    """A batch whose augmentation depends on (seed, example, epoch) alone, not on earlier draws."""
    examples = []
    for epoch, index in zip(epochs.tolist(), indices.tolist(), strict=True):
        reseed(seed, index, epoch)
        examples.append(source.data[index])
    reseed(seed, *indices.tolist())  # a collate function may draw, too
    return source.batch_of(examples)


def _endless(source: Source, seed: int, epochs: float | None) -> Iterator[object]:
    """Items of a stream or batches of a callable, started again for as many passes as allowed."""
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
            num_items += 1
            yield item
        num_passes += 1
        if num_items == 0 or (epochs is not None and num_passes >= epochs):
            raise DataError(
                f"{source.name} ended after {num_passes} pass{'es' if num_passes > 1 else ''} of "
                f"{num_items} items, before the run's tokens were trained; bring more data, or "
                f"allow more passes with Recipe(epochs=None)."
            )


def _grouped(
    source: Source, items: Iterator[object], batch: int, share: tuple[int, int]
) -> Iterator[object]:
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
    return in_workers(partial(_held_out_batch, source, key), groups, source.num_workers)


def _held_out_batch(source: Source, key: int, indices: Sequence[int]) -> object:
    examples = []
    for index in indices:
        reseed(key, index)
        examples.append(source.data[index])
    return source.batch_of(examples)


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
