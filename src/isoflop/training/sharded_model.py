"""new_sharded_model(): the first process builds a model and hands each process its part.

All of them also build it without the values of its parameters, so only the first one ever holds the
whole model in main memory.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from isoflop.errors import first_line
from isoflop.training.notices import print_notice
from isoflop.training.places import digest
from isoflop.training.ranks import Ranks
from isoflop.training.sharding import scattered, shard
from isoflop.user_code.data import tensors_in

__all__ = ["new_sharded_model"]

Parts = list[tuple[str, ...]]


def new_sharded_model(
    build: Callable[[], nn.Module], build_empty: Callable[[], nn.Module], ranks: Ranks
) -> nn.Module:
    """A new model on the devices of all ranks, a part of each weight on each.

    All ranks call it together. A model that cannot be built without values is built by each of
    them, and a line on stderr says so.

    build: builds the model, the same on each rank.
    build_empty: builds it without the values of its parameters.

    Raises what `build` raises, on all ranks.
    """
    whole: list[nn.Module] = []

    def build_first() -> Parts:
        whole.append(build())
        return _parts(whole[0])

    model, reason = _empty(build_empty, ranks.broadcast(build_first))
    reasons = [each for each in ranks.gathered([reason]) if each is not None]
    if model is None or reasons:
        if ranks.is_first:
            print_notice(
                f"Each process builds the whole model in main memory, as {reasons[0]}; keep "
                f"values out of the constructor to build it once."
            )
        model = whole[0] if whole else build()
        shard(model)
        return model
    shard(model)
    model.to_empty(device=ranks.device)
    _fill(model, whole.pop() if whole else None, ranks)
    return model


def _empty(
    build_empty: Callable[[], nn.Module], parts: Parts
) -> tuple[nn.Module | None, str | None]:
    """The model without values, or why the first rank's cannot take its place."""
    try:
        model = build_empty()
        if _parts(model) == parts:
            return model, None
        reason = "it has other parts without the values of its parameters"
    except Exception as error:  # of any kind: the user's code decides
        reason = f"its constructor needs the values of parameters ({first_line(error)})"
    return None, reason


def _parts(model: nn.Module) -> Parts:
    """Names, shapes and types of parameters and buffers, and all other tensors of the modules."""
    first: dict[int, str] = {}
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return [
        *(
            (
                name,
                first.setdefault(id(tensor), name),  # a tied one has the name of its first use
                f"{tuple(tensor.shape)} {tensor.dtype} {tensor.requires_grad}",
            )
            for name, tensor in named
        ),
        ("others", digest(list(_others(model)))),
    ]


def _others(model: nn.Module) -> Iterator[torch.Tensor]:
    """Tensors in attributes of modules that are neither parameters nor buffers."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers"):
                yield from tensors_in(value)


def _fill(model: nn.Module, whole: nn.Module | None, ranks: Ranks) -> None:
    """Give a sharded model the values of the whole one, which the first rank has."""
    named = () if whole is None else (*whole.named_parameters(), *whole.named_buffers())
    values = {name: tensor.detach() for name, tensor in named}
    del whole, named  # a value is freed after its turn
    with torch.no_grad():  # its decorator would keep the whole model
        for name, part in model.named_parameters():
            part.copy_(scattered(_value(values, name, part, ranks), part))
        for name, buffer in model.named_buffers():
            value = _value(values, name, buffer, ranks).contiguous()
            torch.distributed.broadcast(value.reshape(-1).view(torch.uint8), src=0)
            buffer.copy_(value)


def _value(
    values: dict[str, torch.Tensor], name: str, like: torch.Tensor, ranks: Ranks
) -> torch.Tensor:
    """A tensor on the device: the first rank's value, elsewhere space for it."""
    if ranks.is_first:
        return values.pop(name).to(ranks.device)
    return torch.empty(like.shape, dtype=like.dtype, device=ranks.device)
