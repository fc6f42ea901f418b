"""check_means(): require means as loss and metrics, so that they do not grow with the batch."""

from torch import nn

from isoflop.errors import ContractError
from isoflop.task import Task
from isoflop.user_code.data import first_batch, open_data
from isoflop.user_code.loss import batch_loss, batch_measures
from isoflop.user_code.mean import NUM_COMPARED, sums_among

__all__ = ["check_means"]


def check_means(task: Task, model: nn.Module, example_flops: float, most_flops: float) -> None:
    """Raise ContractError if a training loss, held-out loss or metric is a sum over examples.

    model: with values, in evaluation mode.
    example_flops, most_flops: FLOPs of a step on one example, and the most for one check.
    """
    num_examples = NUM_COMPARED if NUM_COMPARED * example_flops <= most_flops else NUM_COMPARED // 2
    most_draws = int(most_flops / max(1.0, num_examples * example_flops))
    train, val = (
        first_batch(open_data(data, name), num_examples)
        for name, data in (("train_data", task.train_data), ("val_data", task.val_data))
    )
    loss = sums_among(lambda batch: (batch_loss(task, model, batch).item(),), train, most_draws)
    held_out = sums_among(lambda batch: batch_measures(task, model, batch), val, most_draws)
    names = ("loss", "held-out loss", *(f"metric {name!r}" for name in task.metrics))
    adding = [
        name for name, is_sum in zip(names, [*(loss or [False]), *held_out], strict=False) if is_sum
    ]
    if adding:
        raise ContractError(
            f"The {adding[0]} must be a mean over targets, but it doubles when the batch does, as "
            f"a sum; take the mean (leave out reduction='sum', or divide by the number of targets)."
        )
