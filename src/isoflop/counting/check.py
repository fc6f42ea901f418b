"""check_task(): a real example of the data goes through the smallest model, before anything is planned."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from isoflop.counting.counting import count_size
from isoflop.counting.lattice import smallest_size
from isoflop.counting.means import check_means
from isoflop.counting.real_batch import real_batch
from isoflop.counting.tokens import token_supply
from isoflop.counting.trials import FIRST, params_anew, trial
from isoflop.errors import ContractError, IsoflopError, PlanError, first_line
from isoflop.task import Task
from isoflop.user_code.data import to_device
from isoflop.user_code.examples import check_examples, why_not
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import batch_loss, batch_measures, token_rule
from isoflop.user_code.model import build, check_size_param

__all__ = ["check_task"]

MAX_CHECKED_FLOPS = 5e10
"""Of a step that is made on the CPU only to see that it works: a few seconds."""
NUM_CHECKED = 2
NUM_RECOUNTED = 3
"""Times that the smallest model is built again, to see that its size is no random number."""


def check_task(task: Task) -> None:
    """Raise ContractError where the task cannot be trained: real examples of both data through the smallest size.

    The held-out loss and every metric are taken of them, too. Raises PlanError where the model fails and nothing is
    seen to be wrong with the data.
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
        told = f"{type(error).__name__}: {first_line(error)}"
        raise PlanError(
            f"A model of the smallest size must take a batch, but it raises {told}."
        ) from error
    _try_held_out(task, model, to_device(batches["val_data"], device), has_values=device == "cpu")


def _try_smallest(task: Task, batches: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Take the loss of a training batch; gives the model and its device: the meta device where it is large."""
    for name, batch in batches.items():
        token_rule(task, batch, name)
    counted = count_size(task, smallest_size(task))
    _check_same_size(task, counted.size, counted.num_params)
    per_example = counted.flops_per_token * token_supply(task).tokens_per_example
    # On the meta device shapes are checked, values are not: the step of a deep model may take a CPU a minute.
    device = "cpu" if NUM_CHECKED * per_example <= MAX_CHECKED_FLOPS else "meta"
    model = build(task, counted.size, device).eval()  # one example is no batch to normalise over
    with torch.set_grad_enabled(task.step is not None):  # a step of the user's may need gradients
        loss = batch_loss(task, model, to_device(batches["train_data"], device))
        if device == "cpu":
            _check_start(loss.item(), "loss", "train_data")
            check_means(task, model, per_example, MAX_CHECKED_FLOPS)
    return model, device


def _try_held_out(task: Task, model: nn.Module, batch: Any, *, has_values: bool) -> None:
    """Take the loss of a held-out batch, where that of a training batch could be taken, and its metrics."""
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
                f"val_data must give batches that the model and the loss take, as train_data does, but on one of them "
                f"they raise {type(error).__name__}: {first_line(error):.120}."
            ) from error


def _check_same_size(task: Task, size: Any, num_params: int) -> None:
    """Raise ContractError for a model whose size is drawn at random: laws are of the size that was planned."""
    for seed in range(1, NUM_RECOUNTED + 1):
        with isolated(seed):
            again, _ = params_anew(task, size)
        if again != num_params:
            raise ContractError(
                f"A model must have as many params each time that it is built at one size, but at size {size!r} it has "
                f"{num_params} at one time and {again} at another; let its size depend on nothing but its arguments."
            )


def _loss_at(task: Task, size: Any, batch: Any) -> torch.Tensor:
    return batch_loss(task, build(task, size), batch)


def _cause(task: Task, size: Any, error: Exception) -> Exception:
    """What the user's code raised, where an error of ours tells of it."""
    if not isinstance(error, PlanError):
        return error.__cause__ if isinstance(error.__cause__, Exception) else error
    try:  # no size works
        trial(task, size, FIRST)
    except Exception as found:
        return found.__cause__ if isinstance(found.__cause__, Exception) else found
    return error


def _check_start(loss: float, what: str, name: str) -> None:
    if not math.isfinite(loss):
        raise ContractError(
            f"The {what} of an untrained model must be finite, but on {name} it is {loss}."
        )
    if loss < 0:
        raise ContractError(
            f"A loss must be above 0, as laws of it fall towards a floor, but on {name} that of an untrained model is "
            f"{loss:.4g}; give one that is lower for a better model (its negative, or 1 minus an accuracy)."
        )
