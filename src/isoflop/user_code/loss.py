"""The loss of a batch, one scalar, and the number of targets that it averages over."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

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


def batch_loss(task: Task, model: nn.Module, batch: object) -> torch.Tensor:
    """The scalar loss of a batch. Raises ContractError if it or the batch breaks the contract."""
    if task.step is not None:
        return _scalar(task.step(model, batch), "step(model, batch)")
    return loss_of(task, forward(task, model, batch), batch)


def batch_measures(task: Task, model: nn.Module, batch: object) -> tuple[float, ...]:
    """The held-out loss of a batch and each of the task's metrics, in the task's order."""
    if task.step is not None:
        return (batch_loss(task, model, batch).item(),)
    outputs, targets = forward(task, model, batch), _targets(batch)
    metrics = (_mean(metric, name, outputs, targets) for name, metric in task.metrics.items())
    return (_held_out_loss(task, outputs, batch).item(), *metrics)


def _held_out_loss(task: Task, outputs: object, batch: object) -> torch.Tensor:
    if task.val_loss is None:
        return loss_of(task, outputs, batch)
    loss = _called(task.val_loss, "val_loss", outputs, _targets(batch))
    return _scalar(loss, "val_loss(outputs, targets)")


def _called(
    function: Callable[[object, object], object], name: str, outputs: object, targets: object
) -> object:
    """The result of a user's function. Raises ContractError if the function raises."""
    try:
        return function(outputs, targets)
    except Exception as error:
        raise ContractError(
            f"{name} must take the model's outputs and the batch's targets, but it raised "
            f"{type(error).__name__}: {first_line(error)}."
        ) from error


def forward(task: Task, model: nn.Module, batch: object) -> object:
    """The model's outputs for a batch; a model with its own loss also gets the targets."""
    if task.loss is None:
        return model(**batch) if isinstance(batch, Mapping) else model(*_pair(batch))
    inputs, _ = _pair(batch)
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def loss_of(task: Task, outputs: object, batch: object) -> torch.Tensor:
    """The scalar loss of a batch's outputs."""
    if task.loss is None:
        return _scalar(_own_loss(outputs, batch), "the loss that the model returns")
    return _scalar(task.loss(outputs, _pair(batch)[1]), "loss(outputs, targets)")


def count_tokens(task: Task, batch: object) -> int:
    """D of a batch: the number of its loss targets.

    Each element of integer targets counts unless it is -100; other targets count once per example.
    """
    if task.count_tokens is not None:
        return _own_count(task.count_tokens, batch)
    targets = _targets(batch)
    if _is_countable(targets):
        return int(torch.count_nonzero(targets != IGNORED))
    if isinstance(targets, torch.Tensor) and targets.ndim > 0:
        return int(targets.shape[0])
    return num_examples_in(batch)


def token_rule(task: Task, batch: object, name: str) -> str:
    """The definition of a token, in words, for batches of `name` ("train_data" or "val_data").

    Raises ContractError if the targets that the loss averages over are unknown.
    """
    if task.count_tokens is not None:
        return "what count_tokens counts"
    targets, is_pair = _targets(batch), _is_pair(batch)
    if _is_countable(targets):
        return f"each target{_place(batch)} that is not {IGNORED}"
    # Floating-point targets stand for whole examples; with tables of integers, that is a guess.
    is_known = isinstance(targets, torch.Tensor) and (is_pair or isinstance(batch, Mapping))
    within = targets if is_pair or (targets is not None and isinstance(batch, Mapping)) else batch
    if not is_known and any(
        _is_countable(tensor) and tensor.ndim > 1 for tensor in tensors_in(within)
    ):
        raise ContractError(
            f"The targets that the loss averages over are unknown in a batch of {name}, "
            f"{_described(batch)}; give Task(count_tokens=), a function batch -> number of targets."
        )
    return "each example"


def _own_count(function: Callable[[object], object], batch: object) -> int:
    """The user's count of a batch's targets. Raises ContractError unless it is an integer >= 0."""
    number: Any = function(batch)
    value = number.item() if isinstance(number, torch.Tensor) and number.numel() == 1 else number
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):
        count = -1
    if count < 0 or count != value:
        raise ContractError(
            f"count_tokens must give a whole number of targets of a batch, but gave {number!r:.80}."
        )
    return count


def _is_countable(targets: object) -> TypeGuard[torch.Tensor]:
    """True for a tensor of integers, each of which is a target."""
    if not isinstance(targets, torch.Tensor) or targets.ndim == 0:
        return False
    return not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)


def _place(batch: object) -> str:
    """The place of the targets in a batch, in words; empty for a pair."""
    if isinstance(batch, Mapping):
        return f" in {next(key for key in _TARGET_KEYS if key in batch)!r}"
    return "" if _is_pair(batch) else " in the last part of a batch"


def _described(batch: object) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with {join_words([repr(key) for key in batch])}"
    if isinstance(batch, list | tuple):
        return f"a {type(batch).__name__} of {join_words([type(part).__name__ for part in batch])}"
    return f"a {type(batch).__name__}"


def _targets(batch: object) -> object:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in _TARGET_KEYS if key in batch), None)
    return batch[-1] if isinstance(batch, list | tuple) and len(batch) > 1 else None


def _is_pair(batch: object) -> TypeGuard[Sequence[object]]:
    return isinstance(batch, list | tuple) and len(batch) == 2


def _pair(batch: object) -> tuple[object, object]:
    if _is_pair(batch):
        return batch[0], batch[1]
    shape = f"{len(batch)} parts" if isinstance(batch, list | tuple) else type(batch).__name__
    raise ContractError(
        f"A batch must be (inputs, targets), but got {shape}; for other batches give "
        f"Task(step=...)."
    )


def _own_loss(outputs: object, batch: object) -> object:
    """The loss in a model's outputs: the tensor itself, `.loss`, ["loss"], or the first of a tuple.

    Raises ContractError if there is none.
    """
    if isinstance(outputs, torch.Tensor):
        return outputs
    if isinstance(outputs, tuple) and outputs and isinstance(outputs[0], torch.Tensor):
        return outputs[0]
    loss, has_entry = _loss_entry(outputs)
    if loss is not None:
        return loss
    names = (
        f"hold no labels, only {', '.join(map(str, batch))}"
        if isinstance(batch, Mapping)
        else "have targets"
    )
    if has_entry:
        raise ContractError(
            f"With loss=None the model must return its own loss, but it returned none, and the "
            f"batches {names}; add labels= to the examples, or pass loss=."
        )
    raise ContractError(
        f"With loss=None the model must return its own loss (a scalar, or outputs with .loss), "
        f"but it returned {type(outputs).__name__}; pass loss=."
    )


def _loss_entry(outputs: object) -> tuple[object, bool]:
    """The value of `.loss` or ["loss"], and whether the outputs have that entry at all."""
    if isinstance(outputs, Mapping) and "loss" in outputs:
        return outputs["loss"], True
    return getattr(outputs, "loss", None), hasattr(outputs, "loss")


def _scalar(loss: object, source: str) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        raise ContractError(f"{source} must give a scalar tensor, but gave {type(loss).__name__}.")
    if loss.ndim > 0:
        shape = tuple(loss.shape)
        raise ContractError(
            f"{source} must give a scalar, but gave a tensor of shape {shape}; take its mean."
        )
    return loss


def _mean(
    function: Callable[[object, object], object], name: str, outputs: object, targets: object
) -> float:
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
