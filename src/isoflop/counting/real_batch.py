"""A real batch of one example, for trials of a task, from data that are read at several places."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from isoflop.errors import ContractError, first_line
from isoflop.task import Task
from isoflop.user_code.data import Source, open_data
from isoflop.user_code.loss import count_tokens
from isoflop.user_code.randomness import seeded

__all__ = ["real_batch"]

NUM_READ = 8
"""Examples read, including the first and the last: a data set may be shorter than its length."""
MOST_READ = 256
"""Examples read if none before has a target."""


def real_batch(task: Task, name: str) -> object:
    """The first batch of one example, or of a callable, that has a target.

    name: "train_data" or "val_data".

    Raises ContractError if an example cannot be read, or if none of many has a target.
    """
    source = open_data(getattr(task, name), name)
    chosen: object = None
    with seeded(0):
        for number, batch in enumerate(_batches(source)):
            if chosen is None and count_tokens(task, batch):
                chosen = batch
            if chosen is not None and number >= NUM_READ - 1:
                break
    if chosen is None:
        raise ContractError(
            f"{name} must have loss targets, but a sample of it has none; see Task(count_tokens=)."
        )
    return chosen


def _batches(source: Source) -> Iterator[object]:
    """Some batches of one example each; those of a callable unchanged."""
    if source.kind == "batches":
        yield from islice(source.iterate(0), NUM_READ)
    elif source.kind == "stream":
        yield from (source.batch_of([example]) for example in islice(source.iterate(0), MOST_READ))
    else:
        for most in (NUM_READ, MOST_READ):
            for index in _spread(source.num_examples or 0, most):
                yield _read(source, index)


def _spread(num_examples: int, most: int) -> list[int]:
    chosen: list[int] = np.unique(
        np.linspace(0, num_examples - 1, min(num_examples, most)).astype(int)
    ).tolist()
    return chosen


def _read(source: Source, index: int) -> object:
    try:
        return source.gather([index])
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            f"{source.name} has a length of {source.num_examples} examples, but example {index} "
            f"cannot be read: {type(error).__name__}: {first_line(error):.120}."
        ) from error
