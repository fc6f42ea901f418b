"""What isoflop asks of a batch and a loss: one scalar per batch, and a count of the targets it averages over."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from isoflop.contract.data import num_examples_in
from isoflop.errors import ContractError
from isoflop.task import Task

__all__ = ["IGNORED", "batch_loss", "batch_measures", "count_tokens", "forward", "loss_of"]

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
    metrics = (_mean(metric(outputs, targets), name) for name, metric in task.metrics.items())
    return (_held_out_loss(task, outputs, batch).item(), *metrics)


def _held_out_loss(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    if task.val_loss is None:
        return loss_of(task, outputs, batch)
    return _scalar(task.val_loss(outputs, _targets(batch)), "val_loss(outputs, targets)")


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
        return int(task.count_tokens(batch))
    targets = _targets(batch)
    if isinstance(targets, torch.Tensor) and targets.ndim > 0:
        if not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool):
            return int(torch.count_nonzero(targets != IGNORED))
        return int(targets.shape[0])
    return num_examples_in(batch)


def _targets(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in _TARGET_KEYS if key in batch), None)
    return batch[-1] if isinstance(batch, list | tuple) and len(batch) > 1 else None


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    shape = f"{len(batch)} parts" if isinstance(batch, list | tuple) else type(batch).__name__
    raise ContractError(f"A batch must be (inputs, targets), but got {shape}; for other batches give Task(step=...).")


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
    names = f"hold no labels, only {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else "have targets"
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
        raise ContractError(f"{source} must give a scalar, but gave a tensor of shape {shape}; take its mean.")
    return loss


def _mean(metric: Any, name: str) -> float:
    if not isinstance(metric, torch.Tensor):
        raise ContractError(f"The metric {name!r} must give a tensor, but gave {type(metric).__name__}.")
    return float(metric.float().mean().item())
