"""A sample of the training data, large enough for tokens and shapes to 1 %, and its batches."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_number
from isoflop.errors import ContractError
from isoflop.per_task import per_task
from isoflop.task import Task
from isoflop.user_code.data import Source, dimensions, open_data, tensors_in
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import IGNORED, count_tokens, token_rule

__all__ = ["Sample", "batch_of", "sample_of"]

Array = NDArray[np.float64]

PRECISION = 0.01
"""Relative standard error of an example's mean tokens and extent at which sampling ends."""
NUM_EXAMPLES, MOST_EXAMPLES = 256, 4096
NUM_BATCHES, MOST_BATCHES = 8, 256
"""Batches sampled, at least and at most, of data that come in batches."""
MOST_BYTES = 2**28
"""A sample that takes more memory than this is not enlarged."""
KEPT = 8
"""Items that are kept if all have one shape."""
FEWEST_BATCHES = 8
WIDTH, MOST_JOINED = 8, 32
"""Examples per batch, and batches, whose tokens are compared with those of single examples."""
MORE = 1.1
"""Ratio of tokens beyond the variation that random masks cause."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Examples in random order (a stream's in its own order), or batches of data that come in them.

    kept: the items themselves; only some of them if all have one shape.
    tokens: of each item alone.
    dimensions: of each item alone (user_code/data.py); one row if all are the same.
    error: relative standard error of the mean tokens or of the mean extent of an item, whichever is
        larger.
    rule: definition of a token, in words.
    """

    source: Source
    kept: tuple[object, ...]
    tokens: Array
    dimensions: tuple[tuple[int, ...], ...]
    error: float
    rule: str

    @property
    def in_batches(self) -> bool:
        """True if the data come in batches."""
        return self.source.kind == "batches"

    @property
    def has_one_shape(self) -> bool:
        """True if all items have the same tensors, of the same shape."""
        return len(self.dimensions) == 1

    @property
    def num_items(self) -> int:
        return len(self.tokens)

    @property
    def unseen(self) -> float:
        """Share of the data outside the sample; 1 if the length is unknown."""
        return _unseen(self.num_items, self.source.num_examples)

    @property
    def mean_examples(self) -> float:
        """Mean number of examples of an item: one, unless the data come in batches."""
        return float(np.mean([dimensions[0] for dimensions in self.dimensions]))

    def batches(self, num_examples: int) -> Iterator[object]:
        """Batches of `num_examples` examples, without repeats if possible, or the data's own."""
        if self.in_batches:
            yield from self.kept
            return
        items, random = self.kept, np.random.default_rng(0)
        whole = len(items) // num_examples
        for k in range(max(whole, FEWEST_BATCHES)):
            if k < whole:
                chosen = range(k * num_examples, (k + 1) * num_examples)
            else:  # drawn again: few batches, or one larger than the sample
                chosen = random.choice(
                    len(items), num_examples, replace=num_examples > len(items)
                ).tolist()
            yield self.source.batch_of([items[index] for index in chosen])


@per_task
def sample_of(task: Task) -> Sample:
    """The sample of a task's training data.

    Raises ContractError if its items make no batch, or the number of their tokens is unknown.
    """
    source = open_data(task.train_data, "train_data")
    few, most = (
        (NUM_BATCHES, MOST_BATCHES) if source.kind == "batches" else (NUM_EXAMPLES, MOST_EXAMPLES)
    )
    kept: list[object] = []
    tokens: list[float] = []
    shapes: list[tuple[int, ...]] = []
    rule, num_bytes, error = "", 0, 0.0
    with isolated(0):
        for item in _items(source, most):
            batch = item if source.kind == "batches" else source.batch_of([item])
            rule = rule or token_rule(task, batch, source.name)
            kept.append(item)
            tokens.append(count_tokens(task, batch))
            shapes.append(dimensions(batch))
            num_bytes += sum(tensor.nbytes for tensor in tensors_in(batch))
            if len(tokens) >= few and len(tokens) & (len(tokens) - 1) == 0:  # at powers of two
                error = _error(tokens, shapes, source.num_examples)
                if error <= PRECISION or num_bytes > MOST_BYTES:
                    break
    if not tokens:
        raise ContractError(f"{source.name} must hold at least one example, but it yields none.")
    one_shape = len(set(shapes)) == 1
    sample = Sample(
        source=source,
        kept=tuple(kept[:KEPT] if one_shape else kept),
        tokens=np.array(tokens, dtype=float),
        dimensions=tuple(shapes[:1] if one_shape else shapes),
        error=_error(tokens, shapes, source.num_examples),
        rule=rule,
    )
    _require_same_alone(task, sample)
    return sample


def _items(source: Source, most: int) -> Iterator[object]:
    if source.kind != "examples":
        return islice(source.iterate(0), most)
    # Drawn, not evenly spaced: a stride could fall in step with a pattern in the data.
    length = source.num_examples or 1
    chosen = np.random.default_rng(0).choice(length, min(length, most), replace=False)
    return (source.data[index] for index in chosen.tolist())


def _error(tokens: list[float], shapes: list[tuple[int, ...]], length: int | None) -> float:
    """The larger relative standard error of the mean tokens and of the mean extent of the items."""
    extents = [float(sum(shape)) for shape in shapes]
    return max(_share(values) for values in (tokens, extents)) * math.sqrt(
        _unseen(len(tokens), length)
    )


def _unseen(number: int, length: int | None) -> float:
    return 1.0 if length is None else max(0.0, 1 - number / length)


def _share(values: list[float]) -> float:
    mean = float(np.mean(values))
    return (
        0.0
        if len(values) < 2 or mean == 0
        else float(np.std(values, ddof=1)) / mean / math.sqrt(len(values))
    )


def _require_same_alone(task: Task, sample: Sample) -> None:
    """Raise ContractError if a batch has more targets than its examples alone: padding counts."""
    num_batches = min(len(sample.kept) // WIDTH, MOST_JOINED)
    if sample.in_batches or sample.has_one_shape or num_batches == 0:
        return
    with isolated(0):
        together = sum(
            count_tokens(task, batch) for batch in islice(sample.batches(WIDTH), num_batches)
        )
    alone = float(sample.tokens[: num_batches * WIDTH].sum())
    if together > MORE * alone:
        examples = num_batches * WIDTH
        remedy = f"give it the target {IGNORED}, or give Task(count_tokens=)"
        raise ContractError(
            f"An example of {sample.source.name} has {format_number(alone / examples, 3)} targets "
            f"alone but {format_number(together / examples, 3)} in a batch of {WIDTH}, so padding "
            f"is counted as targets; "
            f"{remedy if task.count_tokens is None else 'let count_tokens leave it out'}."
        )


def batch_of(task: Task, num_examples: int) -> object:
    """One batch of `num_examples` examples, as training draws them."""
    sample = sample_of(task)
    if sample.in_batches:
        return sample.kept[0]
    with isolated(0):
        chosen = [sample.kept[index % len(sample.kept)] for index in range(num_examples)]
        return sample.source.batch_of(chosen)
