"""The held-out loss: a mean over a fixed set of targets, each counted once on any number of processes."""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isoflop.contract.data import open_data, to_device
from isoflop.contract.loss import batch_loss, count_tokens
from isoflop.planning.tokens import token_supply
from isoflop.task import Task
from isoflop.training.batches import held_out_batches
from isoflop.training.ranks import Ranks

__all__ = ["evaluate"]

NUM_BATCHES = 64
"""Enough for a standard error of the mean over batches."""


@torch.no_grad()
def evaluate(
    task: Task, model: nn.Module, ranks: Ranks, precision: AbstractContextManager[Any]
) -> tuple[float, float | None]:
    """Mean loss per held-out target over the task's fixed evaluation set, and its standard error over batches."""
    source = open_data(task.val_data, "val_data")
    wanted = math.ceil(task.recipe.eval_tokens / token_supply(task).tokens_per_example)
    batches = held_out_batches(source, min(wanted, source.num_examples or wanted), NUM_BATCHES)
    model.eval()
    measured = []
    for k, batch in enumerate(batches):
        if k % ranks.num_ranks == ranks.rank and (num_tokens := count_tokens(task, batch)):
            with precision:
                loss = batch_loss(task, model, to_device(batch, ranks.device)).item()
            measured.append((k, loss, float(num_tokens)))
    model.train()
    _, losses, weights = np.array(sorted(ranks.gathered(measured))).T
    return _weighted_mean(losses, weights)


def _weighted_mean(losses: NDArray[Any], weights: NDArray[Any]) -> tuple[float, float | None]:
    """Mean over targets, and the standard error of that ratio from the spread of its batches."""
    share = weights / weights.sum()
    mean = float((share * losses).sum())
    if len(losses) < 2:
        return mean, None
    spread = ((share * (losses - mean)) ** 2).sum() * len(losses) / (len(losses) - 1)
    return mean, float(np.sqrt(spread))
