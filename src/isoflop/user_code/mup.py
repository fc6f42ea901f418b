"""Learning rates by width: the maximal update parametrisation (muP) for Adam.

Yang & Hu et al. 2022 (2203.03466), table 3: with m the ratio of a matrix's fan-in to its fan-in at
the base size, hidden matrices and output layers learn at 1 / m of the rate; embeddings, input
layers, biases and gains at the rate itself; output layers start 1 / sqrt(m) smaller than layers
whose variance goes with 1 / fan-in. Where the rate goes with 1 / m, weight decay goes with m, so
that their product, the effective decay, does not change (Wortsman et al. 2023, 2309.14322).

The kinds of parameters follow from the shapes of two sizes of the model. Shapes do not suffice for
the following, which the model has to do: divide attention scores by the width of a head and not
its root (only if heads widen with the model); multiply the output by 1 / m if the output layer is
tied to the embedding; and initialise hidden layers with variances that go with 1 / fan-in, as
torch's own do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from isoflop.errors import ContractError
from isoflop.task import Task
from isoflop.user_code.model import build

__all__ = ["Scaled", "mup_groups", "scale_init", "scaled_parameters"]

Kind = Literal["hidden", "input", "output", "vector", "fixed"]


@dataclass(frozen=True)
class Scaled:
    """How one parameter scales with the width of the model.

    kind: hidden (both sides widen), input (only its outputs), output (only its inputs), vector
        (biases, gains), or fixed (does not widen).
    ratio: fan-in over that of the base size, 1 if it does not widen.
    tied: whether another module uses it, too, so that no single rule fits both uses.
    """

    name: str
    kind: Kind
    ratio: float
    tied: bool = False

    @property
    def lr_factor(self) -> float:
        return 1 / self.ratio if self.kind in ("hidden", "output") and not self.tied else 1.0

    @property
    def init_factor(self) -> float:
        return float(self.ratio**-0.5) if self.kind == "output" and not self.tied else 1.0


def scaled_parameters(task: Task, model: nn.Module) -> list[Scaled]:
    """Kind and ratio of each parameter, by comparison with the recipe's base size.

    The base size is built on the meta device. Raises ContractError if the two sizes do not have
    the same layers.
    """
    base = dict(build(task, task.recipe.mup_base, "meta").named_parameters())
    own = dict(model.named_parameters())
    if base.keys() != own.keys() or any(base[name].ndim != own[name].ndim for name in own):
        raise ContractError(
            f"Recipe.mup: all sizes must have the same layers, but those of base size "
            f"{task.recipe.mup_base!r} have {len(base)} parameters and this size {len(own)}; "
            f"fix the depth in model_kwargs and scale the width."
        )
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    uses = _uses(model)
    return [
        _scaled(name, own[name], base[name], id(own[name]) in tables, uses[id(own[name])] > 1)
        for name in own
    ]


def _uses(model: nn.Module) -> Mapping[int, int]:
    """By id of a parameter: the number of modules that use it."""
    counts: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _scaled(name: str, own: nn.Parameter, base: nn.Parameter, is_table: bool, tied: bool) -> Scaled:
    ratios = [new / old for new, old in zip(own.shape, base.shape, strict=True)]
    widens = [ratio != 1 for ratio in ratios]
    if not any(widens):
        return Scaled(name, "fixed", 1.0, tied)
    if own.ndim < 2:
        return Scaled(name, "vector", 1.0, tied)
    if is_table:  # (entries, width): looked up, not multiplied
        return Scaled(name, "input", 1.0, tied)
    # torch's layers have shape (out, in, ...); a stack of matrices, as of experts, (..., in, out)
    fan_in = ratios[1] if len(ratios) != 3 or widens[0] else ratios[-2]
    if sum(widens) >= 2:
        return Scaled(name, "hidden", fan_in, tied)
    return Scaled(name, "output", fan_in, tied) if fan_in != 1 else Scaled(name, "input", 1.0, tied)


def mup_groups(
    task: Task, model: nn.Module, lr: float, weight_decay: float
) -> list[dict[str, object]]:
    """Parameter groups with rate and decay by width, without decay for biases and gains."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    parameters = dict(model.named_parameters())
    for scaled in scaled_parameters(task, model):
        parameter = parameters[scaled.name]
        decay = weight_decay / scaled.lr_factor if parameter.ndim >= 2 else 0.0
        if parameter.requires_grad:
            groups.setdefault((lr * scaled.lr_factor, decay), []).append(parameter)
    return [
        {"params": params, "lr": rate, "weight_decay": decay}
        for (rate, decay), params in groups.items()
    ]


@torch.no_grad()
def scale_init(task: Task, model: nn.Module) -> None:
    """Rescale a new model's output layers to the initial scale for their width."""
    parameters = dict(model.named_parameters())
    for scaled in scaled_parameters(task, model):
        if scaled.init_factor != 1:
            parameters[scaled.name].mul_(scaled.init_factor)
