"""Params and FLOPs per token of a size, counted on the real module; the sizes that build; the size nearest to an N.

Models are built and run on the meta device, which takes no memory, with the shapes of a real batch. A model that the
meta device cannot run (data-dependent shapes, `.item()`) is counted on small CPU builds instead.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isoflop.contract.data import first_batch, open_data, to_device
from isoflop.contract.loss import batch_loss, count_tokens, forward, loss_of
from isoflop.contract.model import build, check_size_param, count_params, param_counts
from isoflop.errors import ContractError, IsoflopError, PlanError
from isoflop.task import Task

__all__ = ["SizeCount", "check_task", "count_size", "num_params_at", "size_near", "sizes_near", "smallest_size"]

MAX_CPU_PARAMS = 50e6
"""Models above this are not built on the CPU just to be counted."""

NUM_EXAMPLES = 2
"""Examples of the batch that is counted: batch normalisation needs two."""


@dataclass(frozen=True, kw_only=True)
class SizeCount:
    """What one size of the user's model costs.

    flops_per_token: FLOPs of forward and backward for one loss target. Matrix products and convolutions count two
        FLOPs per multiply-add, attention counts in full (a causal mask saves nothing); element-wise work counts none.
    params: params by convention (total, non_embedding, matmul).
    activation_bytes: kept for the backward pass, per example; None where the meta device could not tell.
    """

    size: Any
    num_params: int
    flops_per_token: float
    params: Mapping[str, int]
    activation_bytes: float | None = None
    notes: tuple[str, ...] = ()


_cached = lru_cache(maxsize=4096)  # per task (compared by identity) and size


@_cached
def num_params_at(task: Task, size: Any) -> int:
    """N of a size, counted on the built module."""
    try:
        return count_params(task, build(task, size, "meta"))
    except ContractError:
        raise
    except Exception:  # the user's class may do what the meta device cannot; the CPU's error is the one to show
        return count_params(task, build(task, size, "cpu"))


@_cached
def count_size(task: Task, size: Any) -> SizeCount:
    """Params and FLOPs per token of a size.

    Raises ContractError where the batch or the loss breaks the contract, and whatever the model raises at a size that
    it does not support.
    """
    batch = _counting_batch(task)
    try:
        return _count_on(task, size, to_device(batch, "meta"), "meta")
    except Exception:
        if num_params_at(task, size) > MAX_CPU_PARAMS:
            return _assumed(task, size)
        return _count_on(task, size, batch, "cpu")


def _count_on(task: Task, size: Any, batch: Any, device: str) -> SizeCount:
    model = build(task, size, device)
    num_params = count_params(task, model)
    params = param_counts(model)
    num_tokens = _tokens_of(task)
    flops, activations = _run_counted(task, model, batch)
    per_token, notes = _trusted(flops / num_tokens, num_params, params["matmul"])
    if task.flops_per_token is not None:
        per_token, notes = float(task.flops_per_token(model)), ()
    return SizeCount(
        size=size,
        num_params=num_params,
        flops_per_token=per_token,
        params=params,
        activation_bytes=activations / NUM_EXAMPLES if device == "meta" else None,
        notes=notes,
    )


def _run_counted(task: Task, model: nn.Module, batch: Any) -> tuple[int, int]:
    """FLOPs of forward and backward of a batch, and the bytes that are kept in between."""
    saved: dict[int, int] = {}
    owned = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    model.train()
    with FlopCounterMode(display=False) as counter, _countable_attention(model):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            if task.step is not None:
                loss = batch_loss(task, model, batch)
            else:
                outputs = forward(task, model, batch)
                loss = _loss_checked(task, outputs, batch)
        if not loss.requires_grad:
            raise ContractError("The loss must depend on the model's parameters, but it carries no gradient.")
        loss.backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops(), sum(saved.values())


def _countable_attention(model: nn.Module) -> AbstractContextManager[object]:
    """On the CPU the fused attention kernel reports no FLOPs; the math kernel is matrix products, which do."""
    on_meta = next(model.parameters()).is_meta
    return nullcontext() if on_meta else sdpa_kernel(SDPBackend.MATH)


def _loss_checked(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    try:
        return loss_of(task, outputs, batch)
    except IsoflopError:
        raise
    except Exception as error:
        raise ContractError(
            f"loss must take the model's outputs and the batch's targets, but it raised {type(error).__name__}: "
            f"{_first_line(error)}."
        ) from error


def _trusted(flops_per_token: float, num_params: int, matmul_params: int) -> tuple[float, tuple[str, ...]]:
    """The count, or 6N where nothing was counted; with a note where it looks too small."""
    if flops_per_token <= 0:
        return 6.0 * num_params, (
            "FLOPs are taken as 6 N D, since no operation of this model reports its own; give Task(flops_per_token=).",
        )
    if flops_per_token < 0.5 * 6 * matmul_params:
        return flops_per_token, (
            f"Counted FLOPs per token are only {flops_per_token / (6 * matmul_params):.2f} of 6 x the params in matrix "
            f"products: right for sparse experts, else a fused layer was missed and Task(flops_per_token=) should say.",
        )
    return flops_per_token, ()


def _assumed(task: Task, size: Any) -> SizeCount:
    num_params = num_params_at(task, size)
    note = (
        f"FLOPs of sizes above {MAX_CPU_PARAMS:.0e} params are taken as 6 N D, since this model cannot run on the meta "
        f"device; give Task(flops_per_token=)."
    )
    return SizeCount(size=size, num_params=num_params, flops_per_token=6.0 * num_params, params={}, notes=(note,))


@_cached
def _counting_batch(task: Task) -> Any:
    return first_batch(open_data(task.train_data, "train_data"), NUM_EXAMPLES)


@_cached
def _tokens_of(task: Task) -> int:
    num_tokens = count_tokens(task, _counting_batch(task))
    if num_tokens <= 0:
        raise ContractError(
            "A batch must have at least one loss target, but the first examples of train_data have none."
        )
    return num_tokens


def check_task(task: Task) -> None:
    """Raise ContractError where the task cannot be trained: one real step forward and backward at the smallest size."""
    check_size_param(task)
    open_data(task.val_data, "val_data")
    model = build(task, smallest_size(task), "cpu")
    for name, data in (("train_data", task.train_data), ("val_data", task.val_data)):
        loss = batch_loss(task, model, first_batch(open_data(data, name), NUM_EXAMPLES))
        if not torch.isfinite(loss):
            raise ContractError(f"The loss of an untrained model must be finite, but on {name} it is {loss.item()}.")


# -- which sizes build ---------------------------------------------------------------------------------------------


def size_near(task: Task, num_params: float) -> SizeCount:
    """The real size whose N is nearest to `num_params` (in ratio).

    Raises PlanError where no size builds.
    """
    return sizes_near(task, [num_params])[0]


def sizes_near(task: Task, wanted: list[float]) -> list[SizeCount]:
    """One real size per wanted N, each used once, in the order of `wanted`; fewer where there are not as many sizes."""
    chosen: dict[Any, SizeCount] = {}
    for num_params in wanted:
        for size in _by_distance(task, num_params, keep=len(wanted)):
            if size not in chosen and (count := _try_count(task, size)) is not None:
                chosen[size] = count
                break
    return list(chosen.values())


def smallest_size(task: Task) -> Any:
    """The smallest size that builds and takes a batch."""
    if task.sizes is not None:
        return min(task.sizes, key=lambda size: num_params_at(task, size))
    return _lattice(task)


def _by_distance(task: Task, num_params: float, keep: int) -> list[Any]:
    """The sizes nearest to an N, nearest first."""
    if task.sizes is not None:
        candidates = list(task.sizes)
    else:
        step = _lattice(task)
        middle = _bisect(task, step, num_params)
        candidates = [step * k for k in range(max(1, middle - keep), middle + keep + 2)]
    near = [size for size in candidates if _builds(task, size)]
    return sorted(near, key=lambda size: abs(math.log(num_params_at(task, size) / num_params)))


def _bisect(task: Task, step: int, num_params: float) -> int:
    """Largest k for which size k x step has at most `num_params`; 1 if none has."""
    low, high = 1, 2
    while num_params_at(task, step * high) <= num_params:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if num_params_at(task, step * middle) <= num_params else (low, middle)
    return low


@_cached
def _lattice(task: Task) -> Any:
    """The smallest g for which sizes g, 2g and 3g all work and grow: all its multiples are taken as sizes.

    Heads and groups make a width divisible by some g. Powers of two, then three, five and seven times them, are tried
    first; the first that works is then divided by its primes for as long as it goes on working.

    Raises PlanError where none works.
    """
    tries = [odd * 2**k for odd in (1, 3, 5, 7) for k in range(11)]
    found = next((g for g in tries if _multiples_work(task, g)), None)
    if found is None:
        raise PlanError(_no_size_message(task))
    for prime in (2, 3, 5, 7):
        while found % prime == 0 and _multiples_work(task, found // prime):
            found //= prime
    return found


def _multiples_work(task: Task, step: int) -> bool:
    counts = [_try_count(task, step * k) for k in (1, 2, 3)]
    if any(count is None for count in counts):
        return False
    params = [count.num_params for count in counts if count is not None]
    if not params[0] < params[1] < params[2]:
        raise ContractError(
            f"The size parameter {task.size_param!r} must make the model larger, but sizes {step}, {2 * step} and "
            f"{3 * step} have {params[0]}, {params[1]} and {params[2]} params; name another parameter, or sizes=."
        )
    return True


def _try_count(task: Task, size: Any) -> SizeCount | None:
    """The count of a size, or None where the model does not support it. A broken contract is raised."""
    try:
        return count_size(task, size)
    except IsoflopError:
        raise
    except Exception:  # any error of the user's class at this size means: not a size
        return None


def _builds(task: Task, size: Any) -> bool:
    try:
        return num_params_at(task, size) > 0
    except IsoflopError:
        raise
    except Exception:
        return False


def _no_size_message(task: Task) -> str:
    try:
        count_size(task, 64)
        reason = "no step between sizes works throughout (for example, only powers of two do)"
    except Exception as error:
        reason = f"at size 64 it raises {type(error).__name__}: {_first_line(error)}"
    return f"No size of {task.size_param!r} was found that builds and takes a batch: {reason}; give Task(sizes=[...])."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")
