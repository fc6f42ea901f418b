"""Sizes of a task near a number of params, with what each costs; and a task checked before anything is planned."""

from dataclasses import replace
from typing import Any

import torch

from isoflop.contract.data import first_batch, open_data, to_device
from isoflop.contract.loss import batch_loss, token_rule
from isoflop.contract.model import build, check_size_param
from isoflop.errors import ContractError, PlanError
from isoflop.planning.counting import SizeCount, count_or_reason, count_size, try_count
from isoflop.planning.lattice import builds, by_distance, sizes_between, smallest_size
from isoflop.planning.tokens import token_supply
from isoflop.planning.trials import num_params_at
from isoflop.task import Task

__all__ = [
    "SizeCount",
    "check_task",
    "count_or_reason",
    "count_size",
    "num_params_at",
    "size_near",
    "sizes_between",
    "sizes_near",
    "smallest_size",
    "try_count",
]

MAX_CHECKED_FLOPS = 5e10
"""Of a step that is made on the CPU only to see that it works: a few seconds."""
NUM_CHECKED = 2


def check_task(task: Task) -> None:
    """Raise ContractError where the task cannot be trained: a real example of both data through the smallest size."""
    check_size_param(task)
    batches = {
        name: first_batch(open_data(data, name), 1)
        for name, data in (("train_data", task.train_data), ("val_data", task.val_data))
    }
    for name, batch in batches.items():
        token_rule(task, batch, name)
    size = smallest_size(task)
    # On the meta device shapes are checked, values are not: the step of a deep model may take a CPU a minute.
    per_example = count_size(task, size).flops_per_token * token_supply(task).tokens_per_example
    device = "cpu" if NUM_CHECKED * per_example <= MAX_CHECKED_FLOPS else "meta"
    model = build(task, size, device).eval()  # one example is no batch to normalise over
    for name, batch in batches.items():
        batch = to_device(batch, device)
        with torch.set_grad_enabled(task.step is not None):  # a step of the user's may need gradients
            loss = batch_loss(task, model, batch)
        if device == "cpu" and not torch.isfinite(loss):
            raise ContractError(f"The loss of an untrained model must be finite, but on {name} it is {loss.item()}.")


def size_near(task: Task, num_params: float, *, most: float | None = None) -> SizeCount:
    """The real size whose N is nearest to `num_params` (in ratio), and at most `most`.

    Raises PlanError where no size builds, or none is so small.
    """
    near = sizes_near(task, [num_params])[0]
    if most is None or near.num_params <= most:
        return near
    for size in by_distance(task, most, keep=8):
        if num_params_at(task, size) <= most and (counted := try_count(task, size)) is not None:
            return counted
    raise PlanError(f"No size of {task.size_param!r} has at most {most:.3g} params; allow smaller sizes.")


def sizes_near(task: Task, wanted: list[float]) -> list[SizeCount]:
    """One real size per wanted N, each used once, in the order of `wanted`; fewer where there are not as many sizes.

    The first of them notes the sizes that are left out: named ones that do not build, others that cannot be counted.

    Raises PlanError where none can be counted.
    """
    chosen: dict[Any, SizeCount] = {}
    unbuilt = [size for size in task.sizes or () if not builds(task, size)]
    failed = {size: f"Size {size} is left out: it raised {count_or_reason(task, size)}." for size in unbuilt}
    for num_params in wanted:
        for size in by_distance(task, num_params, keep=len(wanted)):
            if size in chosen or size in failed:
                continue
            counted = count_or_reason(task, size)
            if isinstance(counted, SizeCount):
                chosen[size] = counted
                break
            failed[size] = f"Size {size} is left out: a training step of it raised {counted}."
    found = list(chosen.values())
    if failed and not found:
        raise PlanError(f"No size of {task.size_param!r} can be trained. {next(iter(failed.values()))}")
    return [*(replace(first, notes=(*first.notes, *failed.values())) for first in found[:1]), *found[1:]]
