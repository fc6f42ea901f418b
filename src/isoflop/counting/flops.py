"""FLOPs of one training step, counted operation by operation while the real model runs it.

The convention, defined only here:

- A multiply-add is two FLOPs. Matrix products, convolutions and attention count; element-wise
  operations, normalisation, look-ups and Fourier transforms do not.
- A weight costs 2 per use forward and 4 backward, but 2 backward if its input needs no gradient (a
  first layer).
- Attention counts in full: 2 x 2 T d forward per token and layer of width d over T positions, and
  three times that in all. A causal mask or another sparse pattern saves nothing, and scores that a
  kernel recomputes cost nothing.
- Recomputation by activation checkpointing does not count: it saves memory and is no part of the
  model.
- Experts count as they run: all of them under dense dispatch, the chosen ones if tokens are routed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    _FlopCounterMode,
    conv_flop_count,
    flop_registry,
    sdpa_flop_count,
)

from isoflop.counting.uncounted import Suspects

__all__ = ["StepCost", "count_step"]

aten = torch.ops.aten
_GROUPED = getattr(aten, "_grouped_mm", None)  # not in the oldest torch allowed
Shape = tuple[int, ...]


@dataclass(frozen=True)
class StepCost:
    """FLOPs of a step, forward and backward, and the bytes kept in between.

    activation_bytes: None if they were not measured.
    uncounted: names of operations that may multiply tensors but have no formula
        (counting/uncounted.py).
    """

    flops: int
    activation_bytes: int | None
    uncounted: tuple[str, ...] = ()


def count_step(
    model: nn.Module, loss_of_batch: Callable[[], torch.Tensor], *, assume_values: bool = False
) -> StepCost:
    """The cost of one step, forward and backward.

    assume_values: on the meta device, where tensors hold no values, assume true or one for those
        that the model reads (`.item()`, `if tensor:`).
    """
    kept: dict[int, int] = {}
    owned = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    phase = _Phase()
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    model.train()
    with ExitStack() as stack:
        if not on_meta:
            stack.enter_context(_countable_kernels())
        if assume_values:
            stack.enter_context(_AssumedValues())  # type: ignore[no-untyped-call]
        counter = stack.enter_context(_Counter(phase))  # entered last, so it sees operations first
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = loss_of_batch()
        with phase.backward():
            loss.backward()  # type: ignore[no-untyped-call]
    flops = counter.get_total_flops()
    return StepCost(flops, sum(kept.values()), counter.suspects.that_matter(flops))


class _Phase:
    """Identifies recomputation: in a backward pass, only that runs with gradients enabled."""

    def __init__(self) -> None:
        self.is_backward = False

    @contextmanager
    def backward(self) -> Iterator[None]:
        self.is_backward = True
        yield

    def recomputes(self) -> bool:
        return self.is_backward and torch.is_grad_enabled()


class _Counter(FlopCounterMode):
    """Counts by torch's formulas and those below, and collects operations without one."""

    def __init__(self, phase: _Phase) -> None:
        formulas = {**flop_registry, **_FORMULAS}
        super().__init__(
            display=False,
            custom_mapping={
                operation: _once(formula, phase) for operation, formula in formulas.items()
            },
        )
        self.mod_tracker = _OneModule()  # type: ignore[assignment]
        self.suspects = Suspects()
        self._phase = phase

    def __enter__(self) -> "_Counter":
        self.mode = _Operations(self)
        self.mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def _count_flops(
        self, func_packet: object, out: object, args: object, kwargs: object
    ) -> object:
        if func_packet not in self.flop_registry and not self._phase.is_backward:
            self.suspects.see(func_packet, out, (args, kwargs))
        return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]


class _Operations(_FlopCounterMode):
    """Hands each operation to its counter.

    torch compares every call with a list of operations, and asks for its parts; that takes a sixth
    of a count. Here each operation is asked for parts once.
    """

    whole: ClassVar[dict[object, bool]] = {}

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> object:
        if func not in self.whole:
            self.whole[func] = isinstance(func, OpOverload) and not func._can_decompose()
        if not self.whole[func]:
            decomposed = super().__torch_dispatch__
            return decomposed(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        out, counted = func(*args, **(kwargs or {})), self.counter._count_flops
        packet = func._overloadpacket
        return counted(packet, out, args, kwargs or {})  # type: ignore[no-untyped-call]


def _once(formula: Callable[..., int], phase: _Phase) -> Callable[..., int]:
    """The formula, but 0 for recomputation."""

    def counted(*args: object, **kwargs: object) -> int:
        return 0 if phase.recomputes() else formula(*args, **kwargs)

    # torch then calls it with tensors instead of their shapes.
    counted._get_raw = True  # type: ignore[attr-defined]
    return counted


class _OneModule:
    """Replaces torch's tracker of modules, which takes half of the time and is not used here."""

    parents = frozenset({"Global"})

    def __exit__(self, *error: object) -> None: ...


@contextmanager
def _countable_kernels() -> Iterator[None]:
    """Use CPU kernels of operations with a formula instead of fused kernels without one."""
    mkldnn: Any = torch.backends.mkldnn
    enabled = mkldnn.enabled
    # Its recurrent layers are one operation. mkldnn.flags() would warn of a missing GPU.
    mkldnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mkldnn.enabled = enabled


class _AssumedValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Supplies what the meta device lacks: values, and grouped products of fp32 tensors."""

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].new_ones((), device="cpu").item()
        if _GROUPED is not None and func is _GROUPED.default and args[0].is_meta:
            return args[0].new_empty(_grouped_shape(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


# -- formulas that torch lacks or has wrong ------------------------------------------------------


def _convolution_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: object
) -> int:
    """FLOPs of both gradients of a convolution, each as many as forward.

    torch's formula multiplies the weights' gradient by the number of groups.
    """
    transposed, output_mask = args[4], args[7]
    forward = conv_flop_count(
        list(x.shape), list(weight.shape), list(grad.shape), transposed=transposed
    )
    return forward * sum(map(bool, output_mask[:2]))


def _matrix_vector(matrix: torch.Tensor, vector: object, *args: object, **kwargs: object) -> int:
    return 2 * int(matrix.numel())


def _add_matrix_vector(
    bias: object, matrix: torch.Tensor, vector: object, *args: object, **kwargs: object
) -> int:
    return 2 * int(matrix.numel())


def _trilinear(
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    expand_a: Iterable[int],
    expand_b: Iterable[int],
    expand_c: Iterable[int],
    *args: object,
    **kwargs: object,
) -> int:
    """One multiply-add for each element of the product of all three."""
    shapes = []
    for tensor, expanded in ((a, expand_a), (b, expand_b), (c, expand_c)):
        shape = list(tensor.shape)
        for dimension in sorted(expanded):
            shape.insert(dimension, 1)
        shapes.append(shape)
    return 2 * int(math.prod(map(max, *shapes)))  # dimensions are equal, or one


def _grouped_product(a: torch.Tensor, b: torch.Tensor, *args: object, **kwargs: object) -> int:
    """FLOPs of a grouped product.

    A row, a column or a term of the inner sum belongs to one group and costs once; a dimension of
    groups multiplies the cost.
    """
    rows = int(a.numel()) if b.ndim >= a.ndim else int(a.shape[-2] * a.shape[-1])
    return 2 * rows * int(b.shape[-1])


def _grouped_shape(
    a: torch.Tensor, b: torch.Tensor, offs: Any = None, *args: object, **kwargs: object
) -> Shape:
    rows, columns = a.shape[-2], b.shape[-1]
    if a.ndim == b.ndim:  # groups in both, or only in the inner sum
        groups = a.shape[0] if a.ndim == 3 else offs.shape[0]
        return (groups, rows, columns)
    return (rows, columns)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: object, **kwargs: object
) -> int:
    flops = sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]
    return int(flops)


def _attention_backward(
    grad: object,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *args: object,
    **kwargs: object,
) -> int:
    return 2 * _attention(query, key, value)


_FORMULAS: dict[object, Callable[..., int]] = {
    aten.convolution_backward: _convolution_backward,
    aten.mv: _matrix_vector,
    aten.addmv: _add_matrix_vector,
    aten._trilinear: _trilinear,
    **({} if _GROUPED is None else {_GROUPED: _grouped_product}),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten._scaled_dot_product_flash_attention_backward: _attention_backward,
    aten._scaled_dot_product_efficient_attention_backward: _attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward: _attention_backward,
}
