"""Trial steps of a task's model at a size on a few real batches, and their cost.

Models are built and run on the meta device, which takes no memory. A model that the meta device
cannot run (data-dependent shapes, `.item()`) runs on the CPU instead if it is small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isoflop.counting.batch_cost import Reading, num_counts, reading_of
from isoflop.counting.flops import StepCost, count_step
from isoflop.counting.sample import Sample, sample_of
from isoflop.errors import ContractError, IsoflopError, first_line
from isoflop.per_task import per_task
from isoflop.runs import SizeValue
from isoflop.task import Task
from isoflop.user_code.data import to_device
from isoflop.user_code.isolation import contained, isolated
from isoflop.user_code.loss import batch_loss, forward, loss_of
from isoflop.user_code.model import build, count_params, param_counts

__all__ = [
    "FIRST",
    "MAX_CPU_PARAMS",
    "CountingBatches",
    "built",
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
"""Larger models are not built on the CPU for a count."""

NUM_EXAMPLES = (2, 3, 4, 5)
"""Examples per counted batch: batch normalisation needs two."""
FIRST = (0,)
"""Index of the counting batch for a size's trial."""
NUM_PROBED = 8
"""Batches that are read to find the dimensions that vary."""


@per_task
def num_params_at(task: Task, size: SizeValue | None) -> int:
    """N of a size, counted on the built module."""
    return params_at(task, size)[0]


@per_task
def params_at(task: Task, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
    """N of a size, and its params by convention."""
    return params_anew(task, size)


def params_anew(task: Task, size: SizeValue | None) -> tuple[int, Mapping[str, int]]:
    """N of a size and its params by convention, from a newly built model."""
    with contained():
        model = built(task, size)
        return count_params(task, model), param_counts(model)


def built(task: Task, size: SizeValue | None) -> nn.Module:
    """The model at a size, on the meta device if it can be built there."""
    try:
        return build(task, size, "meta")
    except ContractError:
        raise
    except Exception:  # the meta device may be the cause; the CPU raises the error to show
        return build(task, size, "cpu")


@per_task
def trial(task: Task, size: SizeValue | None, rows: tuple[int, ...]) -> tuple[StepCost, ...] | None:
    """The cost of a step on some counting batches; None for a large model that needs the CPU.

    Raises ContractError if the batch or the loss breaks the contract, and whatever the model raises
    at a size that it does not support.
    """
    return _first_that_runs(task, size, [counting_batches(task).batches[row] for row in rows])


def trial_of(task: Task, size: SizeValue | None, batch: object) -> StepCost | None:
    """The cost of a step on any batch; None for a large model that needs the CPU."""
    costs = _first_that_runs(task, size, [batch])
    return None if costs is None else costs[0]


def _first_that_runs(
    task: Task, size: SizeValue | None, batches: Sequence[object]
) -> tuple[StepCost, ...] | None:
    try:
        return count_on(task, size, "meta", batches)
    except Exception:
        if not is_large(task, size):
            return count_on(task, size, "cpu", batches)
    return None


def is_large(task: Task, size: SizeValue | None) -> bool:
    """True for a size that is too large to be built on the CPU for a count."""
    return num_params_at(task, size) > MAX_CPU_PARAMS


def count_on(
    task: Task,
    size: SizeValue | None,
    device: str,
    batches: Sequence[object],
    *,
    assume_values: bool = False,
) -> tuple[StepCost, ...]:
    """The cost of a step on some batches, counted on one device; memory only on the meta device."""
    costs = []
    with isolated(0):  # a model on the CPU draws its weights
        model = build(task, size, device)
        for batch in batches:
            loss_of_batch = partial(_checked_loss, task, model, to_device(batch, device))
            cost = count_step(model, loss_of_batch, assume_values=assume_values)
            costs.append(cost if device == "meta" else replace(cost, activation_bytes=None))
            model.zero_grad(set_to_none=True)
    return tuple(costs)


def _checked_loss(task: Task, model: nn.Module, batch: object) -> torch.Tensor:
    """The loss of a batch; an error of the user's loss function becomes a ContractError."""
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


def _loss_of(task: Task, outputs: object, batch: object) -> torch.Tensor:
    try:
        return loss_of(task, outputs, batch)
    except IsoflopError:
        raise
    except Exception as error:
        raise ContractError(
            f"loss must take the model's outputs and the batch's targets, but it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


@dataclass(frozen=True, eq=False)
class CountingBatches:
    """Small batches of the training data that differ in all variables, and those variables."""

    batches: tuple[object, ...]
    reading: Reading
    variables: NDArray[np.float64]


@per_task
def counting_batches(task: Task) -> CountingBatches:
    """The batches on which a task's FLOPs are counted: few if all examples have one shape."""
    sample = sample_of(task)
    with isolated(0):
        batches = _spread(sample, len(NUM_EXAMPLES) if sample.has_one_shape else NUM_PROBED)
        reading = reading_of(batches)
        if (wanted := num_counts(reading.num_variables)) > len(batches):
            batches = _spread(sample, wanted)
    return CountingBatches(tuple(batches), reading, np.array([reading(batch) for batch in batches]))


def _spread(sample: Sample, number: int) -> list[object]:
    """Up to `number` batches, from that of the smallest examples to that of the largest."""
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
