"""Steps of a task's model at a size on a few real batches, to see whether it trains and what that costs.

Models are built and run on the meta device, which takes no memory. A model that the meta device cannot run
(data-dependent shapes, `.item()`) runs on small CPU builds instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isoflop.counting.batch_cost import Reading, num_counts, reading_of
from isoflop.counting.flops import StepCost, count_step
from isoflop.counting.sample import Sample, sample_of
from isoflop.errors import ContractError, IsoflopError, first_line
from isoflop.per_task import per_task
from isoflop.task import Task
from isoflop.user_code.data import to_device
from isoflop.user_code.isolation import contained, isolated
from isoflop.user_code.loss import batch_loss, forward, loss_of
from isoflop.user_code.model import build, count_params, param_counts

__all__ = [
    "FIRST",
    "MAX_CPU_PARAMS",
    "CountingBatches",
    "count_on",
    "counting_batches",
    "is_large",
    "num_params_at",
    "params_anew",
    "params_at",
    "trial",
    "trial_of",
]

MAX_CPU_PARAMS = 50e6
"""Models above this are not built on the CPU just to be counted."""

NUM_EXAMPLES = (2, 3, 4, 5)
"""Examples of the batches that are counted: batch normalisation needs two."""
FIRST = (0,)
"""The counting batch on which a size is tried."""
NUM_PROBED = 8
"""Batches that show which of their dimensions vary."""


@per_task
def num_params_at(task: Task, size: Any) -> int:
    """N of a size, counted on the built module."""
    return params_at(task, size)[0]


@per_task
def params_at(task: Task, size: Any) -> tuple[int, Mapping[str, int]]:
    """N of a size, and its params by convention."""
    return params_anew(task, size)


def params_anew(task: Task, size: Any) -> tuple[int, Mapping[str, int]]:
    """The same of a model that is built for it."""
    with contained():
        try:
            model = build(task, size, "meta")
        except ContractError:
            raise
        except Exception:  # the user's class may do what the meta device cannot; the CPU's error is the one to show
            model = build(task, size, "cpu")
        return count_params(task, model), param_counts(model)


@per_task
def trial(task: Task, size: Any, rows: tuple[int, ...]) -> tuple[StepCost, ...] | None:
    """What a step costs on some of the counting batches; None of a model that is too large for the CPU that it needs.

    Raises ContractError where the batch or the loss breaks the contract, and whatever the model raises at a size that
    it does not support.
    """
    return _first_that_runs(task, size, [counting_batches(task).batches[row] for row in rows])


def trial_of(task: Task, size: Any, batch: Any) -> StepCost | None:
    """The same of any batch."""
    found = _first_that_runs(task, size, [batch])
    return None if found is None else found[0]


def _first_that_runs(task: Task, size: Any, batches: Sequence[Any]) -> tuple[StepCost, ...] | None:
    try:
        return count_on(task, size, "meta", batches)
    except Exception:
        if not is_large(task, size):
            return count_on(task, size, "cpu", batches)
    return None


def is_large(task: Task, size: Any) -> bool:
    """True of a size that is not built on the CPU just to be counted."""
    return num_params_at(task, size) > MAX_CPU_PARAMS


def count_on(
    task: Task, size: Any, device: str, batches: Sequence[Any], *, assume_values: bool = False
) -> tuple[StepCost, ...]:
    """What a step costs on some batches, by a count on one device; memory only on the meta device."""
    costs = []
    with isolated(0), torch.enable_grad():  # a model that is counted on the CPU draws its weights
        model = build(task, size, device)
        for batch in batches:
            loss_of_batch = partial(_checked_loss, task, model, to_device(batch, device))
            cost = count_step(model, loss_of_batch, assume_values=assume_values)
            costs.append(cost if device == "meta" else replace(cost, activation_bytes=None))
            model.zero_grad(set_to_none=True)
    return tuple(costs)


def _checked_loss(task: Task, model: nn.Module, batch: Any) -> torch.Tensor:
    """The loss of a batch; an error of the user's loss function is told apart from one of the model."""
    if task.step is not None:
        loss = batch_loss(task, model, batch)
    else:
        outputs = forward(task, model, batch)
        loss = _loss_of(task, outputs, batch)
    if not loss.requires_grad:
        raise ContractError(
            "The loss must depend on the model's parameters, but it carries no gradient."
        )
    return loss


def _loss_of(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    try:
        return loss_of(task, outputs, batch)
    except IsoflopError:
        raise
    except Exception as error:
        raise ContractError(
            f"loss must take the model's outputs and the batch's targets, but it raised {type(error).__name__}: "
            f"{first_line(error)}."
        ) from error


@dataclass(frozen=True, eq=False)
class CountingBatches:
    """Small batches of the training data, different in all that batches differ in, with the variables of each."""

    batches: tuple[Any, ...]
    reading: Reading
    variables: NDArray[np.float64]


@per_task
def counting_batches(task: Task) -> CountingBatches:
    """The batches on which a task's FLOPs are counted: few where all examples have one shape."""
    sample = sample_of(task)
    with isolated(0):
        batches = _spread(sample, len(NUM_EXAMPLES) if sample.has_one_shape else NUM_PROBED)
        reading = reading_of(batches)
        if (wanted := num_counts(reading.num_variables)) > len(batches):
            batches = _spread(sample, wanted)
    return CountingBatches(tuple(batches), reading, np.array([reading(batch) for batch in batches]))


def _spread(sample: Sample, number: int) -> list[Any]:
    """So many batches from that of the smallest examples to that of the largest; fewer of data that have fewer."""
    if sample.has_one_shape and sample.in_batches:
        return [sample.kept[0]]
    extents = [sum(shape) for shape in sample.dimensions]
    order = (
        list(range(len(sample.kept)))
        if sample.has_one_shape
        else np.argsort(extents, kind="stable").tolist()
    )
    if sample.in_batches:
        rows = np.unique(np.linspace(0, len(order) - 1, number).round().astype(int)).tolist()
        return [sample.kept[order[row]] for row in rows]
    batches = []
    for k, start in enumerate(np.linspace(0, len(order), number).astype(int).tolist()):
        size = NUM_EXAMPLES[k % len(NUM_EXAMPLES)]
        start = max(0, min(start, len(order) - size))
        chosen = [sample.kept[order[(start + place) % len(order)]] for place in range(size)]
        batches.append(sample.source.batch_of(chosen))
    return batches
