"""The tokens of the training data, per example and in all, and the examples of a batch."""

from isoflop.counting.sample import sample_of
from isoflop.counting.sizes import TokenSupply
from isoflop.errors import ContractError
from isoflop.task import Task

__all__ = ["token_supply"]


def token_supply(task: Task) -> TokenSupply:
    """The tokens of the task's training data, from a sample of its examples.

    Raises ContractError for data without loss targets, or with an unknown number of them.
    """
    sample = sample_of(task)
    mean = float(sample.tokens.mean())
    if mean <= 0:
        raise ContractError(
            "train_data must have loss targets, but a sample of it has none; see "
            "Task(count_tokens=)."
        )
    if sample.in_batches:
        fixed = max(1, round(sample.mean_examples))
        return TokenSupply(mean / fixed, None, fixed)
    length = sample.source.num_examples
    return TokenSupply(mean, None if length is None else length * mean, None)
