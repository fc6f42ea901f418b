"""The tokens of the training data, per example and in all, and the examples of a batch."""

from dataclasses import dataclass

from isoflop.counting.sample import sample_of
from isoflop.errors import ContractError
from isoflop.recipe import Recipe
from isoflop.task import Task

__all__ = ["TokenSupply", "token_supply"]


@dataclass(frozen=True)
class TokenSupply:
    """tokens_per_example: mean loss targets of an example.

    unique_tokens: tokens of one pass over the data; None if its length is unknown.
    fixed_batch: mean examples per batch of data that come in batches; None if isoflop makes the
        batches.
    """

    tokens_per_example: float
    unique_tokens: float | None
    fixed_batch: int | None

    def batch(self, recipe: Recipe, num_params: float, num_tokens: float) -> int:
        """Examples per optimiser step of a run, by the recipe's rule."""
        if self.fixed_batch is not None:
            return self.fixed_batch
        per_step = recipe.tokens_per_step(num_params, num_tokens)
        return max(recipe.min_batch, round(per_step / self.tokens_per_example))


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
