"""The optimiser of a run, and its parameter groups."""

import torch
from torch import nn

from isoflop.runs import SizeValue
from isoflop.settings import Settings
from isoflop.task import Task
from isoflop.user_code.model import build
from isoflop.user_code.mup import mup_groups, scale_init

__all__ = ["make_optimizer", "new_model"]


def new_model(task: Task, size: SizeValue) -> nn.Module:
    """An untrained model of a size, on the CPU, with scaled output layers under muP."""
    model = build(task, size, "cpu")
    if task.recipe.mup_base is not None:
        scale_init(task, model)
    return model


def make_optimizer(task: Task, settings: Settings, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW or the recipe's own optimiser; each group has its peak learning rate as "peak_lr"."""
    recipe, lr, decay = task.recipe, settings.lr, settings.weight_decay
    if recipe.groups is not None:
        groups = recipe.groups(model, lr, decay)
    else:
        by_width = recipe.mup_base is not None
        groups = mup_groups(task, model, lr, decay) if by_width else _decayed_apart(model, decay)
    betas = (settings.beta1, settings.beta2)
    if recipe.optimizer is not None:
        optimizer: torch.optim.Optimizer = recipe.optimizer(groups, lr=lr, betas=betas)
    else:
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def _decayed_apart(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay, biases and gains without."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    others = [p for p in trained if p.ndim < 2]
    return [
        {"params": params, "weight_decay": decay}
        for params, decay in ((matrices, weight_decay), (others, 0.0))
        if params
    ]
