"""Operations that may multiply tensors but have no formula for FLOPs, so that a count omits them.

By convention torch's element-wise operations, normalisation, look-ups, Fourier transforms and
losses have no FLOPs. Only the tensors are known of operations from other libraries.
"""

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

import torch
from torch.utils._pytree import tree_leaves

__all__ = ["Suspects"]

FORWARD_AND_BACKWARD = 3
"""Ratio of a product's FLOPs forward and backward to those of its forward pass."""

Kind = Literal["foreign", "product", "broadcast", "none"]

LEAST_SHARE: dict[Kind, float] = {"foreign": 0.01, "product": 0.01, "broadcast": 0.05}
"""Least share of the counted FLOPs at which an operation matters, as a product of its tensors."""
LEAST_INPUTS: dict[Kind, int] = {"foreign": 2, "product": 1, "broadcast": 2}

_TORCH = {
    "aten",
    "prim",
    "prims",
    "profiler",
    "c10d",
    "c10d_functional",
    "_c10d_functional",
    "rngprims",
    "inductor",
}
_MULTIPLIES = re.compile(
    r"(?:^|_)(?:\w*mm|\w*mv|matmul|linear|conv(?:olution)?|conv\w*\dd|attention|rnn|lstm|gru|"
    r"v?dot|vecdot|cdist|euclidean|outer|ger|kron|bilinear|trilinear|linalg|cholesky|inverse|solve|"
    r"matrix|householder|orgqr|ormqr)(?:_|$)"
)
"""Names of torch's operations on matrices."""
_ONLY_SEEMS_TO = re.compile(r"norm|cross|fused_(?:lstm|gru)_cell|transpose(?!d)|diag")


class Suspects:
    """Operations of a step without a formula, with their FLOPs as products of their tensors."""

    def __init__(self) -> None:
        self._flops: dict[tuple[str, Kind], float] = {}

    def see(self, operation: object, out: object, arguments: object) -> None:
        """Record a forward operation without a formula."""
        name, kind = _known(operation)
        if kind == "none":
            return
        inputs = sorted((tensor.numel() for tensor in _matrices(arguments)), reverse=True)
        result = max((tensor.numel() for tensor in _matrices(out)), default=1)
        if len(inputs) < LEAST_INPUTS[kind] or (kind == "broadcast" and result <= inputs[0]):
            return
        # m k n for a product of matrices m x k and k x n; the result's elements for broadcasting.
        places = (
            result
            if kind == "broadcast"
            else math.sqrt(inputs[0] * inputs[min(1, len(inputs) - 1)] * result)
        )
        key = (name, kind)
        self._flops[key] = self._flops.get(key, 0.0) + 2 * FORWARD_AND_BACKWARD * places

    def that_matter(self, counted: int) -> tuple[str, ...]:
        """Names of the operations that would be a noticeable part of a count."""
        return tuple(
            sorted(
                name
                for (name, kind), flops in self._flops.items()
                if flops > LEAST_SHARE[kind] * counted
            )
        )


def _matrices(values: object) -> Iterator[torch.Tensor]:
    """Floating-point tensors of two or more dimensions."""
    for leaf in tree_leaves(values):
        if isinstance(leaf, torch.Tensor) and leaf.ndim >= 2 and leaf.is_floating_point():
            yield leaf


@cache
def _known(operation: object) -> tuple[str, Kind]:
    """Name of an operation, and the kind of product that it may be."""
    qualified = getattr(operation, "_qualified_op_name", None)
    if qualified is None:  # a kernel of triton, or an operator that takes functions
        return str(getattr(operation, "__name__", operation)), "foreign"
    namespace, _, name = qualified.partition("::")
    shown = f"{namespace}.{name}"
    if namespace not in _TORCH:
        return shown, "foreign"
    if name in {"mul", "mul_"}:
        return "products by broadcasting", "broadcast"
    multiplies = _MULTIPLIES.search(name) and not _ONLY_SEEMS_TO.search(name)
    return shown, "product" if multiplies else "none"
