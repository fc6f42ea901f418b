"""Learning rates by width (the maximal update parametrisation for Adam), from the shapes of two sizes of a model.

Yang & Hu et al. 2022 (2203.03466), table 3: with m the ratio of a matrix's fan-in to its fan-in at the base size,
hidden matrices and output layers learn at 1 / m of the rate; embeddings, input layers, biases and gains at the rate
itself; output layers start 1 / sqrt(m) smaller than layers whose variance goes with 1 / fan-in. Weight decay goes with
m where the rate goes with 1 / m, so that their product, which is what decays, does not change (Wortsman et al. 2023,
2309.14322).

What shapes cannot do, and the model has to: attention scores divided by the width of a head and not its root (only
where heads widen with the model), an output multiplier of 1 / m where the output layer is tied to the embedding, and
initial variances that go with 1 / fan-in in hidden layers, as torch's own do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from isoflop.errors import ContractError
from isoflop.task import Task
from isoflop.user_code.model import build

__all__ = ["Scaled", "mup_groups", "scale_init", "scaled_parameters"]

Kind = Literal["hidden", "input", "output", "vector", "fixed"]


@dataclass(frozen=True)
class Scaled:
    """One parameter's part in a model that widens.

    kind: hidden (both sides widen), input (only its outputs), output (only its inputs), vector (biases, gains), or
        fixed (does not widen).
    ratio: fan-in over that of the base size, 1 where it does not widen.
    tied: also used by another module, so that no single rule fits both uses.
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
    """Each parameter's kind and ratio, by comparison with the recipe's base size built on the meta device.

    Raises ContractError where the two sizes do not have the same layers.
    """
    base = dict(build(task, task.recipe.mup_base, "meta").named_parameters())
    own = dict(model.named_parameters())
    if base.keys() != own.keys() or any(base[name].ndim != own[name].ndim for name in own):
        raise ContractError(
            f"Recipe.mup: all sizes must have the same layers, but those of base size {task.recipe.mup_base!r} have "
            f"{len(base)} parameters and this size {len(own)}; fix the depth in model_kwargs and scale the width."
        )
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    uses = _uses(model)
    return [
        _scaled(name, own[name], base[name], id(own[name]) in tables, uses[id(own[name])] > 1)
        for name in own
    ]


def _uses(model: nn.Module) -> Mapping[int, int]:
    """In how many modules each parameter stands."""
    found: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            found[id(parameter)] = found.get(id(parameter), 0) + 1
    return found


def _scaled(name: str, own: nn.Parameter, base: nn.Parameter, is_table: bool, tied: bool) -> Scaled:
    ratios = [new / old for new, old in zip(own.shape, base.shape, strict=True)]
    widens = [ratio != 1 for ratio in ratios]
    if not any(widens):
        return Scaled(name, "fixed", 1.0, tied)
    if own.ndim < 2:
        return Scaled(name, "vector", 1.0, tied)
    if is_table:  # (entries, width): looked up, not multiplied
        return Scaled(name, "input", 1.0, tied)
    # torch's layers keep (out, in, ...); a stack of matrices such as experts keeps its two sides last.
    fan_in = ratios[1] if len(ratios) != 3 or widens[0] else ratios[-2]
    if sum(widens) >= 2:
        return Scaled(name, "hidden", fan_in, tied)
    return Scaled(name, "output", fan_in, tied) if fan_in != 1 else Scaled(name, "input", 1.0, tied)


def mup_groups(
    task: Task, model: nn.Module, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups with each rate and decay by width; biases and gains are not decayed."""
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
    """Bring a new model's output layers to the initial scale that their width asks for."""
    parameters = dict(model.named_parameters())
    for scaled in scaled_parameters(task, model):
        if scaled.init_factor != 1:
            parameters[scaled.name].mul_(scaled.init_factor)
