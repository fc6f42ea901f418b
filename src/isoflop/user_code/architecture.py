"""The kind of a model, from what most of its params are for.

It only decides where a learning rate starts, so a good guess will do.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from isoflop.display.format import format_percent
from isoflop.starts import ModelKind
from isoflop.user_code.layers import OF_IMAGES, Label, is_named, label_of

__all__ = ["Architecture", "architecture_of"]

KINDS: Mapping[Label, ModelKind] = {
    "attention": "transformer",
    "convolution": "convolutional net",
    "experts": "mixture of experts",
    "linear": "MLP",
    "patches": "vision transformer",
    "recurrence": "recurrent net",
    "state space": "state-space model",
}
MANY = 0.25
"""Least share of the params outside tables that the experts of a mixture of experts have."""
OF_TEXT = 10
"""A model whose tables have so many times the params that read images is one of text."""


@dataclass(frozen=True)
class Architecture:
    """The kind of a model and, in words, what tells it."""

    kind: ModelKind
    because: str


@dataclass(frozen=True)
class _Part:
    """Some params, what they are for, and the class that tells it."""

    label: Label
    owner: str
    num_params: int


def architecture_of(model: nn.Module) -> Architecture:
    """The kind of a built model, which may be on the meta device."""
    parts = list(_parts(model, None))
    label = _deciding(parts)
    if label is None:  # the class of the whole model tells least: it has the layers of any kind too
        parts = list(_parts(model, label_of("", model)))
        label = _deciding(parts)
    if label is None:
        return Architecture("unknown", "its modules do not tell what it is")
    attends = label == "attention"
    kind = "vision transformer" if attends and _reads_images(parts, model) else KINDS[label]
    return Architecture(kind, _share(label, parts))


def _deciding(parts: list[_Part]) -> Label | None:
    """What the params are for that tell the kind; None if none of them does."""
    params = _params(parts)
    outside = params.total() - params["table"]
    if params["experts"] > MANY * outside:
        return "experts"
    layers: dict[Label, int] = {
        "state space": params["state space"],
        "recurrence": params["recurrence"],
        "attention": params["attention"],
        "convolution": params["convolution"] and params["convolution"] + params["pointwise"],
    }
    label = max(layers, key=lambda one: layers[one])
    if layers[label]:
        return label
    if params["patches"]:
        return "patches"
    return "linear" if params["linear"] > outside / 2 and not params["table"] else None


def _reads_images(parts: list[_Part], model: nn.Module) -> bool:
    """Whether a model with attention reads images, and not text or sound."""
    params = _params(parts)
    has_images = any(isinstance(module, OF_IMAGES) for module in model.modules())
    read_by = params["patches"] + params["convolution"]
    return bool(has_images or params["patches"]) and params["table"] <= OF_TEXT * read_by


def _share(label: Label, parts: list[_Part]) -> str:
    """The class with most of the params that tell the kind, and its share of all params."""
    alike = ("convolution", "pointwise") if label == "convolution" else (label,)
    owners = Counter[str]()
    for part in parts:
        owners[part.owner] += part.num_params if part.label in alike else 0
    owner, most = owners.most_common(1)[0]
    share = format_percent(most / _params(parts).total())
    by = "" if is_named(owner, label) else f", by its {label}"
    return f"{share} of the params are in {owner}{by}"


def _params(parts: list[_Part]) -> Counter[Label]:
    params = Counter[Label]()
    for part in parts:
        params[part.label] += part.num_params
    return params


def _parts(model: nn.Module, outermost: Label | None) -> Iterator[_Part]:
    """The params of each module that has some of its own; tied ones once, as those of a table."""
    counted = set[int]()
    placed = list(_placed(model, outermost))
    for label, owner, module in sorted(placed, key=lambda one: one[0] != "table"):
        new = {id(one): one.numel() for one in module.parameters(recurse=False)}
        new = {one: number for one, number in new.items() if one not in counted}
        counted |= new.keys()
        if new:
            plain: Label = "linear" if isinstance(module, nn.Linear) else "other"
            yield _Part(label or plain, owner, sum(new.values()))


def _placed(
    model: nn.Module, outermost: Label | None
) -> Iterator[tuple[Label | None, str, nn.Module]]:
    """Each module with what it is for, by itself or its surroundings, and the class that tells."""
    found = [(outermost, type(model).__name__, model)]
    for label, owner, module in found:
        yield label, owner if label else type(module).__name__, module
        for name, child in module.named_children():
            own = None if label == "patches" else label_of(name, child)
            found.append((own or label, type(child).__name__ if own else owner, child))
