"""What isoflop asks of a batch and a loss: one scalar per batch, and a count of the targets it averages over."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from isoflop.display.format import join_words
from isoflop.errors import ContractError, first_line
from isoflop.task import Task
from isoflop.user_code.data import num_examples_in, tensors_in

__all__ = [
    "IGNORED",
    "batch_loss",
    "batch_measures",
    "count_tokens",
    "forward",
    "loss_of",
    "token_rule",
]

IGNORED = -100
"""Integer targets of this value are not trained on (PyTorch's ignore_index) and are no tokens."""

_TARGET_KEYS = ("labels", "targets", "target", "label")


def batch_loss(task: Task, model: nn.Module, batch: Any) -> torch.Tensor:
    """The scalar loss of a batch. Raises ContractError where the batch or the loss breaks the contract."""
    if task.step is not None:
        return _scalar(task.step(model, batch), "step(model, batch)")
    return loss_of(task, forward(task, model, batch), batch)


def batch_measures(task: Task, model: nn.Module, batch: Any) -> tuple[float, ...]:
    """The held-out loss of a batch and each of the task's metrics, in the task's order."""
    if task.step is not None:
        return (batch_loss(task, model, batch).item(),)
    outputs, targets = forward(task, model, batch), _targets(batch)
    metrics = (_mean(metric, name, outputs, targets) for name, metric in task.metrics.items())
    return (_held_out_loss(task, outputs, batch).item(), *metrics)


def _held_out_loss(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    if task.val_loss is None:
        return loss_of(task, outputs, batch)
    found = _called(task.val_loss, "val_loss", outputs, _targets(batch))
    return _scalar(found, "val_loss(outputs, targets)")


def _called(function: Any, name: str, outputs: Any, targets: Any) -> Any:
    """What a function of the user gives. Raises ContractError where it raises."""
    try:
        return function(outputs, targets)
    except Exception as error:
        raise ContractError(
            f"{name} must take the model's outputs and the batch's targets, but it raised {type(error).__name__}: "
            f"{first_line(error):.120}."
        ) from error


def forward(task: Task, model: nn.Module, batch: Any) -> Any:
    """The model's outputs for a batch. A model with its own loss (`loss=None`) sees targets too."""
    if task.loss is None:
        return model(**batch) if isinstance(batch, Mapping) else model(*_pair(batch))
    inputs, _ = _pair(batch)
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def loss_of(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    """The scalar loss of a batch's outputs."""
    if task.loss is None:
        return _scalar(_own_loss(outputs, batch), "the loss that the model returns")
    return _scalar(task.loss(outputs, _pair(batch)[1]), "loss(outputs, targets)")


def count_tokens(task: Task, batch: Any) -> int:
    """D of a batch: its loss targets. Integer targets count each element that is not -100, others one per example."""
    if task.count_tokens is not None:
        return _own_count(task.count_tokens, batch)
    targets = _targets(batch)
    if _is_countable(targets):
        return int(torch.count_nonzero(targets != IGNORED))
    if isinstance(targets, torch.Tensor) and targets.ndim > 0:
        return int(targets.shape[0])
    return num_examples_in(batch)


def token_rule(task: Task, batch: Any, name: str) -> str:
    """What is counted as a token in batches like this one of `name` ("train_data" or "val_data"), in words.

    Raises ContractError where the targets that the loss averages over cannot be told.
    """
    if task.count_tokens is not None:
        return "what count_tokens counts"
    targets, is_pair = _targets(batch), isinstance(batch, list | tuple) and len(batch) == 2
    if _is_countable(targets):
        return f"each target{_place(batch)} that is not {IGNORED}"
    # Floating-point targets stand for whole examples; beside, or within, whole tables of integers this is a guess.
    is_told = isinstance(targets, torch.Tensor) and (is_pair or isinstance(batch, Mapping))
    within = targets if is_pair or (targets is not None and isinstance(batch, Mapping)) else batch
    if not is_told and any(
        _is_countable(tensor) and tensor.ndim > 1 for tensor in tensors_in(within)
    ):
        raise ContractError(
            f"The targets that the loss averages over cannot be told from a batch of {name}, {_described(batch)}; give "
            f"Task(count_tokens=), a function batch -> number of targets."
        )
    return "each example"


def _own_count(function: Any, batch: Any) -> int:
    """The user's count of a batch's targets. Raises ContractError where that is no whole number from 0 on."""
    number = function(batch)
    value = number.item() if isinstance(number, torch.Tensor) and number.numel() == 1 else number
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = -1
    if found < 0 or found != value:
        raise ContractError(
            f"count_tokens must give a whole number of targets of a batch, but gave {number!r:.80}."
        )
    return found


def _is_countable(targets: Any) -> bool:
    """True for integers, of which each is a target."""
    if not isinstance(targets, torch.Tensor) or targets.ndim == 0:
        return False
    return not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)


def _place(batch: Any) -> str:
    """Where the targets of a batch stand, if it is no pair."""
    if isinstance(batch, Mapping):
        return f" in {next(key for key in _TARGET_KEYS if key in batch)!r}"
    return "" if len(batch) == 2 else " in the last part of a batch"


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with {join_words([repr(key) for key in batch])}"
    if isinstance(batch, list | tuple):
        return f"a {type(batch).__name__} of {join_words([type(part).__name__ for part in batch])}"
    return f"a {type(batch).__name__}"


def _targets(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in _TARGET_KEYS if key in batch), None)
    return batch[-1] if isinstance(batch, list | tuple) and len(batch) > 1 else None


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    shape = f"{len(batch)} parts" if isinstance(batch, list | tuple) else type(batch).__name__
    raise ContractError(
        f"A batch must be (inputs, targets), but got {shape}; for other batches give Task(step=...)."
    )


def _own_loss(outputs: Any, batch: Any) -> Any:
    """The loss inside a model's outputs: the tensor itself, `.loss`, ["loss"], or the first of a tuple.

    Raises ContractError where there is none.
    """
    if isinstance(outputs, torch.Tensor):
        return outputs
    if isinstance(outputs, tuple) and outputs and isinstance(outputs[0], torch.Tensor):
        return outputs[0]
    held = isinstance(outputs, Mapping) and "loss" in outputs
    loss = outputs["loss"] if held else getattr(outputs, "loss", None)
    if loss is not None:
        return loss
    names = (
        f"hold no labels, only {', '.join(map(str, batch))}"
        if isinstance(batch, Mapping)
        else "have targets"
    )
    if held or hasattr(outputs, "loss"):
        raise ContractError(
            f"With loss=None the model must return its own loss, but it returned none, and the batches {names}; add "
            f"labels= to the examples, or pass loss=."
        )
    raise ContractError(
        f"With loss=None the model must return its own loss (a scalar, or outputs with .loss), "
        f"but it returned {type(outputs).__name__}; pass loss=."
    )


def _scalar(loss: Any, source: str) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        raise ContractError(f"{source} must give a scalar tensor, but gave {type(loss).__name__}.")
    if loss.ndim > 0:
        shape = tuple(loss.shape)
        raise ContractError(
            f"{source} must give a scalar, but gave a tensor of shape {shape}; take its mean."
        )
    return loss


def _mean(function: Any, name: str, outputs: Any, targets: Any) -> float:
    metric = _called(function, f"The metric {name!r}", outputs, targets)
    if not isinstance(metric, torch.Tensor):
        raise ContractError(
            f"The metric {name!r} must give a tensor, but gave {type(metric).__name__}."
        )
    if metric.is_complex() or metric.numel() == 0:
        kind = f"a {str(metric.dtype).removeprefix('torch.')} tensor of shape {tuple(metric.shape)}"
        raise ContractError(
            f"The metric {name!r} must give real numbers to take the mean of, but gave {kind}."
        )
    return float(metric.float().mean().item())
