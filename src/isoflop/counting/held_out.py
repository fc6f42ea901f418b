"""The size of a task's evaluation set, and of its batches."""

import math

from isoflop.counting.tokens import token_supply
from isoflop.task import Task
from isoflop.user_code.data import Source

__all__ = ["NUM_BATCHES", "held_out_examples"]

NUM_BATCHES = 64
"""Batches of an evaluation: enough for a standard error of the mean over batches."""


def held_out_examples(task: Task, source: Source) -> tuple[int, int]:
    """Examples of an evaluation, and of each of its batches.

    source: the task's held-out data.
    """
    needed = math.ceil(task.recipe.eval_tokens / token_supply(task).tokens_per_example)
    num_examples = min(needed, source.num_examples or needed)
    return num_examples, max(1, -(-num_examples // NUM_BATCHES))
