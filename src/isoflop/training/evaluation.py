"""Held-out loss and metrics: means over a fixed set of targets, on any number of processes."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isoflop.counting.held_out import NUM_BATCHES, held_out_examples
from isoflop.task import Task
from isoflop.training.batches import held_out_batches
from isoflop.training.data_workers import AS_LOADED, DataWorkers
from isoflop.training.measured_reading import with_workers
from isoflop.training.ranks import Ranks
from isoflop.training.sharding import is_sharded
from isoflop.training.watchdog import beat
from isoflop.user_code.data import Source, open_data, to_device
from isoflop.user_code.loss import batch_measures, count_tokens
from isoflop.user_code.randomness import reseed

__all__ = ["Evaluation", "evaluate"]

EVALUATION = 5
"""First part of the random key of an evaluation; training has other keys."""


@dataclass(frozen=True)
class Evaluation:
    """Means over the task's evaluation set."""

    loss: float
    loss_stderr: float | None
    """Standard error of the loss over batches; None with a single one."""
    metrics: Mapping[str, float]


def evaluate(
    task: Task,
    model: nn.Module,
    ranks: Ranks,
    precision: AbstractContextManager[object],
    data_workers: DataWorkers = AS_LOADED,
) -> Evaluation:
    """Mean loss and metrics per held-out target over the task's fixed evaluation set.

    Each target counts once. Random draws of data, model and loss are fixed by batch and pass: they
    are the same for every run, and do not add to the difference between two runs.
    """
    model.eval()
    source = with_workers(open_data(task.val_data, "val_data"), data_workers)
    passes = range(int(task.recipe.eval_passes))
    measured = [
        each
        for number in passes
        for each in _one_pass(task, source, model, ranks, precision, number)
    ]
    model.train()
    gathered = np.array(sorted(ranks.gathered(measured)))
    batches = [gathered[gathered[:, 0] == k] for k in np.unique(gathered[:, 0])]
    # the standard error is the spread of batches: several passes over a batch share its examples
    weights = np.array([rows[:, 2].sum() for rows in batches])
    losses, *metrics = np.array(
        [np.average(rows[:, 3:], axis=0, weights=rows[:, 2]) for rows in batches]
    ).T
    share = weights / weights.sum()
    means = {
        name: float((share * values).sum())
        for name, values in zip(task.metrics, metrics, strict=True)
    }
    return Evaluation(*_weighted_mean(losses, share), means)


def _one_pass(
    task: Task,
    source: Source,
    model: nn.Module,
    ranks: Ranks,
    precision: AbstractContextManager[object],
    number: int,
) -> Iterator[tuple[float, ...]]:
    """Per batch of this process: numbers of batch and pass, count of targets, loss and metrics."""
    num_examples, _ = held_out_examples(task, source)
    share, together = (ranks.rank, ranks.num_ranks), is_sharded(model)
    batches = held_out_batches(source, num_examples, NUM_BATCHES, number, share, together=together)
    for k, batch, is_own in batches:
        beat()
        num_tokens = count_tokens(task, batch)
        if num_tokens or together:
            reseed(EVALUATION, number, k)
            # the user's step may need gradients of its own, such as those of an energy
            with precision, torch.set_grad_enabled(task.step is not None):
                measures = batch_measures(task, model, to_device(batch, ranks.device))
            if is_own and num_tokens:
                yield (float(k), float(number), float(num_tokens), *measures)


def _weighted_mean(
    losses: NDArray[np.float64], share: NDArray[np.float64]
) -> tuple[float, float | None]:
    """Mean over targets, and the standard error of that ratio from the spread over batches."""
    mean = float((share * losses).sum())
    if len(losses) < 2:
        return mean, None
    spread = ((share * (losses - mean)) ** 2).sum() * len(losses) / (len(losses) - 1)
    return mean, float(np.sqrt(spread))
