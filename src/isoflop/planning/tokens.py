"""How many tokens the training data hold, per example and in all."""

from dataclasses import dataclass
from itertools import islice

import numpy as np

from isoflop.contract.data import Source, first_batch, num_examples_in, open_data
from isoflop.contract.loss import count_tokens
from isoflop.contract.randomness import seeded
from isoflop.errors import ContractError
from isoflop.task import Task

__all__ = ["TokenSupply", "token_supply"]

NUM_SAMPLED_EXAMPLES = 256


@dataclass(frozen=True)
class TokenSupply:
    """tokens_per_example: mean loss targets of an example.

    unique_tokens: of one pass over the data; None where its length is unknown.
    fixed_batch: examples per batch of data that come in batches of their own; None where isoflop makes the batches.
    """

    tokens_per_example: float
    unique_tokens: float | None
    fixed_batch: int | None


def token_supply(task: Task) -> TokenSupply:
    """The supply of the task's training data, from a sample of examples spread over it.

    Raises ContractError for data without a loss target.
    """
    source = open_data(task.train_data, "train_data")
    if source.kind == "batches":
        batch = first_batch(source, 1)
        num_examples = num_examples_in(batch)
        return TokenSupply(_positive(count_tokens(task, batch) / num_examples), None, num_examples)
    per_example = _positive(_mean_tokens(task, source))
    length = source.num_examples
    return TokenSupply(per_example, None if length is None else length * per_example, None)


def _mean_tokens(task: Task, source: Source) -> float:
    with seeded(0):
        if source.kind == "stream":
            examples = list(islice(source.iterate(0), NUM_SAMPLED_EXAMPLES))
        else:
            # Drawn, not evenly spaced: a stride could fall in step with a pattern in the data.
            length = source.num_examples or 1
            chosen = np.random.default_rng(0).choice(length, min(length, NUM_SAMPLED_EXAMPLES), replace=False)
            examples = [source.data[index] for index in chosen.tolist()]
        counts = [count_tokens(task, source.batch_of([example])) for example in examples]
    return sum(counts) / max(1, len(counts))


def _positive(tokens_per_example: float) -> float:
    if tokens_per_example <= 0:
        raise ContractError("train_data must have loss targets, but a sample of it has none; see Task(count_tokens=).")
    return tokens_per_example
