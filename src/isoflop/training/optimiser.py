"""The optimiser of a run, and its parameter groups."""

from typing import Any

import torch
from torch import nn

from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.training.mup import mup_groups, scale_init
from isoflop.user_code.model import build

__all__ = ["make_optimizer", "new_model"]


def new_model(task: Task, size: Any) -> nn.Module:
    """The model of a size at its start, on the CPU: as its class builds it, with output layers scaled under muP."""
    model = build(task, size, "cpu")
    if task.recipe.mup_base is not None:
        scale_init(task, model)
    return model


def make_optimizer(task: Task, spec: RunSpec, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW, or what the recipe's factory gives; each group holds its peak learning rate as "peak_lr"."""
    recipe, lr, decay = task.recipe, spec.given("lr"), spec.given("weight_decay")
    if recipe.groups is not None:
        groups = recipe.groups(model, lr, decay)
    else:
        by_width = recipe.mup_base is not None
        groups = mup_groups(task, model, lr, decay) if by_width else _decayed_apart(model, decay)
    betas = (spec.given("beta1"), spec.given("beta2"))
    if recipe.optimizer is not None:
        optimizer: torch.optim.Optimizer = recipe.optimizer(groups, lr=lr, betas=betas)
    else:
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def _decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay, biases and gains without."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
