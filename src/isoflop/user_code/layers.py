"""What the params of a module are for: attention, convolution, and so on.

Layers of torch are known by their type, others by the names of their classes, children and params;
in the user's own code, attention and state spaces also by what it calls. No model is run.
"""

import re
from collections.abc import Iterator
from types import FunctionType
from typing import Literal

from torch import nn

from isoflop.libraries import is_library

__all__ = ["OF_IMAGES", "Label", "is_named", "label_of"]

Label = Literal[
    "attention",
    "convolution",
    "experts",
    "linear",
    "other",
    "patches",
    "pointwise",
    "recurrence",
    "state space",
    "table",
]
"""Pointwise convolutions have a kernel of one place; a table is looked up by tokens or places."""
OF_IMAGES = (nn.Conv2d, nn.Conv3d)
_PLACES = ((1, 1), (1, 1, 1))
"""Kernels of one place."""

_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, *OF_IMAGES)
_TYPES: tuple[tuple[tuple[type[nn.Module], ...], Label], ...] = (
    ((nn.Embedding, nn.EmbeddingBag), "table"),
    ((nn.RNNBase, nn.RNNCellBase), "recurrence"),
    ((nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer), "attention"),
)
_NAMES: tuple[tuple[str, Label], ...] = (
    (r"Patch_?(Emb|ify|Proj|Token|Merg)", "patches"),
    (r"MoE|Moe(?![a-z])|Expert|Mixture_?Of", "experts"),
    (r"Mamba|SSM|Ssm(?![a-z])|SS2D|State_?Space|^S[456](?!\d)|LRU|Hyena|[mM]inGRU", "state space"),
    (r"R[Ww][Kk][Vv]|RetNet|Retention|DeltaNet|Linear_?Recurren", "state space"),
    (r"RNN|LSTM|GRU|Rnn(?![a-z])|Lstm|Gru(?![a-z])|Recurren", "recurrence"),
    (r"Attention|Attn|Transformer", "attention"),
)
"""Words in the names of classes; the first that fits decides."""
_STATES = re.compile(r"A_?log|log_?A|log_?dt|dt_proj|dt_bias|nu_log|Lambda")
"""Names of the params of a state space."""
_SCANS = {"logcumsumexp", "associative_scan", "selective_scan_fn", "mamba_chunk_scan_combined"}
_SCANS |= {"rfft", "irfft"}
_PATCHES = re.compile(r"(?<!dis)patch", re.IGNORECASE)
"""In the name of an attribute; tokens are dispatched to experts, too."""
_ATTENDS = re.compile(r"attention|attn", re.IGNORECASE)
_TURNED = {"transpose", "swapaxes", "permute", "einsum", "bmm", "rearrange", "T", "mT"}
"""What stands beside a softmax over scores, but not beside one over classes."""


def label_of(name: str, module: nn.Module) -> Label | None:
    """What a module's params are for, as far as it tells; else its surroundings tell.

    name: of the attribute that holds the module.
    """
    if isinstance(module, OF_IMAGES) and module.stride == module.kernel_size not in _PLACES:
        return "patches"
    if _PATCHES.search(name):
        return "patches"
    if isinstance(module, _CONVOLUTIONS):
        return "convolution" if max(module.kernel_size) > 1 else "pointwise"
    for types, label in _TYPES:
        if isinstance(module, types):
            return label
    return None if type(module).__module__.startswith("torch.nn.") else _of_class(module)


def is_named(owner: str, label: Label) -> bool:
    """Whether the name of a class says what its params are for."""
    named = any(re.search(pattern, owner) for pattern, told in _NAMES if told == label)
    return named or hasattr(nn, owner)


def _of_class(module: nn.Module) -> Label | None:
    for pattern, label in _NAMES:
        if re.search(pattern, type(module).__name__):
            return label
    members = [name for name, _ in module.named_children()]
    members += [name for name, _ in module.named_parameters(recurse=False)]
    if any("expert" in member.lower() for member in members):
        return "experts"
    if any(_STATES.search(member) for member in members):
        return "state space"
    return _of_code(type(module))


def _of_code(cls: type) -> Label | None:
    """What the methods of the user's own class refer to; a library's class has a telling name."""
    for names in _names_in(cls):
        if names & _SCANS:
            return "state space"
        if any(_ATTENDS.search(name) for name in names) or ("softmax" in names and names & _TURNED):
            return "attention"
    return None


def _names_in(cls: type) -> Iterator[set[str]]:
    """The names in each method of a class and of its bases, libraries left out."""
    for base in cls.__mro__:
        if not is_library(base.__module__):
            for member in vars(base).values():
                if isinstance(member, FunctionType):
                    yield set(member.__code__.co_names)
