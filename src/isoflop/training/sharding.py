"""Sharded runs: each rank stores a part of every weight, gradient and optimiser state.

PyTorch's FSDP2 collects the weights of one block of the model at a time, for its forward and its
backward pass.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard  # Any: optimisers' states hold many types

import torch
from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = [
    "gathered",
    "is_sharded",
    "scattered",
    "scattered_optimizer",
    "scattered_weights",
    "shard",
]


def shard(model: nn.Module) -> None:
    """Move a model to the devices of all ranks, a part of each weight on each.

    Call it in place of `model.to(device)`, which would need memory for the whole model, and before
    the optimiser is made.

    The repeated blocks of the model, which are the members of its lists of modules, are collected
    one by one, and the rest of the model as a whole.
    """
    from torch.distributed.fsdp import fully_shard

    for block in _blocks(model):
        fully_shard(block)
    fully_shard(model)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model is sharded, also while it holds whole weights between two forward passes."""
    return any(base.__name__ == "FSDPModule" for base in type(model).__mro__)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The outermost members of lists of modules."""
    blocks: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            blocks += [each for each in child if any(True for _ in each.parameters())]
        else:
            blocks += _blocks(child)
    return blocks


def gathered(value: Any, is_kept: bool) -> Any:
    """A state with whole tensors, on the CPU, in place of sharded ones. All ranks call it together.

    is_kept: whether this rank needs the result; the others get None for each sharded tensor.
    """
    if _is_part(value):
        whole = value.full_tensor().detach()
        return whole.cpu() if is_kept else None
    if isinstance(value, Mapping):
        return {key: gathered(each, is_kept) for key, each in value.items()}
    return [gathered(each, is_kept) for each in value] if isinstance(value, list) else value


def scattered_weights(
    held: Mapping[str, torch.Tensor], model: nn.Module
) -> Mapping[str, torch.Tensor]:
    """The whole weights of a checkpoint, sharded as the model's are."""
    own = model.state_dict()
    return {name: scattered(value, own[name]) for name, value in held.items()}


def scattered_optimizer(
    held: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The state of an optimiser with whole tensors, sharded as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {name: scattered(value, parameters[index]) for name, value in values.items()}
        for index, values in held["state"].items()
    }
    return {**held, "state": state}


def scattered(value: Any, like: torch.Tensor) -> Any:
    """The part of a tensor that belongs to this rank, where `like` is a part of the same shape."""
    if not _is_part(like) or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    whole = value.to(like.device_mesh.device_type)
    return distribute_tensor(whole, like.device_mesh, like.placements)


def _is_part(value: object) -> "TypeGuard[DTensor]":
    """Whether a value is a sharded tensor; its class takes a second to import."""
    return isinstance(value, torch.Tensor) and hasattr(value, "device_mesh")
