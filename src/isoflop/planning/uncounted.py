"""Operations that may multiply tensors but have no formula of FLOPs, so that a count leaves them out.

Operations of torch that work element by element, normalise, look up or transform by Fourier count none by convention,
and so do those of losses. Of an operation of somebody else nothing is known but its tensors.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_leaves

__all__ = ["Suspects"]

FORWARD_AND_BACKWARD = 3
"""FLOPs of a product forward and backward, over those of its forward pass."""
LEAST_SHARE = {"unknown": 0.01, "pointwise": 0.05}
"""Of the FLOPs counted, from which on an operation matters if it is a product of its tensors."""

Kind = Literal["unknown", "pointwise", "none"]

_TORCH = {"aten", "prim", "prims", "profiler", "c10d", "c10d_functional", "_c10d_functional", "rngprims", "inductor"}
_NO_PRODUCTS = {
    *("cat", "stack", "copy_", "copy", "_to_copy", "clone", "where", "lerp", "masked_scatter", "grid_sampler_2d"),
    *("index_put", "index_put_", "_index_put_impl_", "index_copy", "index_add", "index_reduce", "scatter", "scatter_"),
    *("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add_", "index_copy_", "slice_scatter"),
    *("select_scatter", "diagonal_scatter", "as_strided_scatter", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback"),
    *("native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm"),
    *("_native_batch_norm_legit_functional", "_batch_norm_with_update", "_batch_norm_no_update", "_fused_rms_norm"),
    *("native_dropout", "miopen_batch_norm", "_prelu_kernel", "rrelu_with_noise", "_thnn_fused_gru_cell"),
    *("_thnn_fused_lstm_cell", "_weight_norm_interface", "mse_loss", "smooth_l1_loss", "huber_loss"),
    *("binary_cross_entropy", "soft_margin_loss", "multilabel_margin_loss_forward", "nll_loss_forward"),
    *("nll_loss2d_forward", "multi_margin_loss", "_ctc_loss", "searchsorted", "bucketize", "histc", "equal", "isin"),
    *("broadcast_tensors", "block_diag", "fill", "fill_", "set_", "resize_as_", "copysign", "_fused_dropout"),
}


class Suspects:
    """What a step ran without a formula, with the FLOPs it would cost as a product of its tensors."""

    def __init__(self) -> None:
        self._flops: dict[tuple[str, Kind], float] = {}

    def see(self, operation: Any, out: Any, arguments: Any) -> None:
        """Take note of a forward operation without a formula."""
        name, kind = _known(operation)
        if kind == "none":
            return
        inputs = sorted((tensor.numel() for tensor in _tables(arguments)), reverse=True)
        result = max((tensor.numel() for tensor in _tables(out)), default=0)
        if len(inputs) < 2 or (kind == "pointwise" and result <= inputs[0]):
            return
        # Of a product of matrices m x k and k x n this is m k n; one by broadcasting has as many elements.
        places = result if kind == "pointwise" else math.sqrt(inputs[0] * inputs[1] * max(result, 1))
        key = (name, kind)
        self._flops[key] = self._flops.get(key, 0.0) + 2 * FORWARD_AND_BACKWARD * places

    def that_matter(self, counted: int) -> tuple[str, ...]:
        """Names of the operations that would be a visible part of a count."""
        return tuple(sorted(name for (name, kind), flops in self._flops.items() if flops > LEAST_SHARE[kind] * counted))


def _tables(values: Any) -> Iterator[torch.Tensor]:
    """Floating-point tensors of two or more dimensions."""
    for leaf in tree_leaves(values):
        if isinstance(leaf, torch.Tensor) and leaf.ndim >= 2 and leaf.is_floating_point():
            yield leaf


@cache
def _known(operation: Any) -> tuple[str, Kind]:
    """Name of an operation, and whether it may be a product."""
    qualified = getattr(operation, "_qualified_op_name", None)
    if qualified is None:  # a kernel of triton, or an operator that takes functions
        return str(getattr(operation, "__name__", operation)), "unknown"
    namespace, _, name = qualified.partition("::")
    if namespace not in _TORCH:
        return f"{namespace}.{name}", "unknown"
    if name in {"mul", "mul_"}:
        return f"{namespace}.{name}", "pointwise"
    is_pointwise = any(torch.Tag.pointwise in getattr(operation, each).tags for each in operation.overloads())
    plain = is_pointwise or name in _NO_PRODUCTS or namespace != "aten"
    return f"{namespace}.{name}", "none" if plain else "unknown"
