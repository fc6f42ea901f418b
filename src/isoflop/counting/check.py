"""check_task(): pass real examples through the smallest model before planning."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from isoflop.counting.counting import count_size
from isoflop.counting.lattice import smallest_size
from isoflop.counting.means import check_means
from isoflop.counting.real_batch import real_batch
from isoflop.counting.tokens import token_supply
from isoflop.counting.trials import FIRST, params_anew, trial
from isoflop.errors import ContractError, IsoflopError, PlanError, first_line
from isoflop.runs import SizeValue
from isoflop.task import Task
from isoflop.user_code.data import to_device
from isoflop.user_code.examples import check_examples, why_not
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import batch_loss, batch_measures, token_rule
from isoflop.user_code.model import build, check_size_param

__all__ = ["check_task"]

MAX_CHECKED_FLOPS = 5e10
"""Most FLOPs of a trial step on the CPU: a few seconds."""
NUM_CHECKED = 2
NUM_RECOUNTED = 3
"""Times that the smallest model is rebuilt, to check that its size is not random."""


def check_task(task: Task) -> None:
    """Check that the task can be trained, with real examples of both data and the smallest size.

    The held-out loss and all metrics are computed too.

    Raises ContractError if the data, the loss or a metric is at fault, and PlanError if the model
    fails for another reason.
    """
    check_size_param(task)
    check_examples(task)
    batches = {name: real_batch(task, name) for name in ("train_data", "val_data")}
    try:
        model, device = _try_smallest(task, batches)
    except Exception as error:
        size = task.sizes[0] if task.sizes is not None else 64
        cause = _cause(task, size, error)
        reason = (
            None
            if isinstance(cause, IsoflopError)
            else why_not(task, cause, partial(_loss_at, task, size))
        )
        if reason is not None:
            raise ContractError(reason) from error
        if isinstance(error, IsoflopError):
            raise
        raise PlanError(
            f"A model of the smallest size must take a batch, but it raises "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error
    _try_held_out(task, model, to_device(batches["val_data"], device), has_values=device == "cpu")


def _try_smallest(task: Task, batches: Mapping[str, object]) -> tuple[nn.Module, str]:
    """Compute the loss of a training batch; returns the model and its device.

    A large model is on the meta device.
    """
    for name, batch in batches.items():
        token_rule(task, batch, name)
    counted = count_size(task, smallest_size(task))
    _check_same_size(task, counted.size, counted.num_params)
    per_example = counted.flops_per_token * token_supply(task).tokens_per_example
    # The meta device checks shapes but not values: on a CPU, a deep model's step may take a minute.
    device = "cpu" if NUM_CHECKED * per_example <= MAX_CHECKED_FLOPS else "meta"
    model = build(task, counted.size, device).eval()  # one example is too few to normalise over
    with torch.set_grad_enabled(task.step is not None):  # a user's step may need gradients
        loss = batch_loss(task, model, to_device(batches["train_data"], device))
        if device == "cpu":
            _check_start(loss.item(), "loss", "train_data")
            check_means(task, model, per_example, MAX_CHECKED_FLOPS)
    return model, device


def _try_held_out(task: Task, model: nn.Module, batch: object, *, has_values: bool) -> None:
    """Compute the loss and the metrics of a held-out batch, after that of a training batch."""
    with torch.set_grad_enabled(task.step is not None):
        try:
            batch_loss(task, model, batch)
            if has_values:
                held_out, *_ = batch_measures(task, model, batch)
                _check_start(held_out, "held-out loss", "val_data")
        except IsoflopError:
            raise
        except Exception as error:
            raise ContractError(
                f"val_data must give batches that the model and the loss take, as train_data does, "
                f"but on one of them they raise {type(error).__name__}: {first_line(error):.120}."
            ) from error


def _check_same_size(task: Task, size: SizeValue | None, num_params: int) -> None:
    """Raise ContractError for a model whose size is random: laws need the planned size."""
    for seed in range(1, NUM_RECOUNTED + 1):
        with isolated(seed):
            again, _ = params_anew(task, size)
        if again != num_params:
            raise ContractError(
                f"A model must have the same number of params each time that it is built at a "
                f"size, but at size {size!r} it has {num_params} at one time and {again} at "
                f"another; let its size depend only on its arguments."
            )


def _loss_at(task: Task, size: SizeValue, batch: object) -> torch.Tensor:
    return batch_loss(task, build(task, size), batch)


def _cause(task: Task, size: SizeValue, error: Exception) -> Exception:
    """The error of the user's code behind an error of isoflop's."""
    if not isinstance(error, PlanError):
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    try:  # no size works
        trial(task, size, FIRST)
    except Exception as cause:
        return cause.__cause__ if isinstance(cause.__cause__, Exception) else cause
    return error


def _check_start(loss: float, what: str, name: str) -> None:
    if not math.isfinite(loss):
        raise ContractError(
            f"The {what} of an untrained model must be finite, but on {name} it is {loss}."
        )
    if loss < 0:
        raise ContractError(
            f"A loss must be above 0, since laws describe its fall towards a floor, but an "
            f"untrained model has a loss of {loss:.4g} on {name}; give one that is lower for a "
            f"better model (the negative of this one, or 1 minus an accuracy)."
        )
