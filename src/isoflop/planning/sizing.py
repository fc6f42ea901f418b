"""Params and FLOPs per token of a size, counted on the real module; the sizes that build; the size nearest to an N.

Models are built and run on the meta device, which takes no memory, with the shapes of a real batch. A model that the
meta device cannot run (data-dependent shapes, `.item()`) is counted on small CPU builds instead.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import merge
from typing import Any

import numpy as np
import torch
from torch import nn

from isoflop.contract.data import first_batch, open_data, to_device
from isoflop.contract.loss import batch_loss, count_tokens, forward, loss_of
from isoflop.contract.model import build, check_size_param, count_params, param_counts
from isoflop.errors import ContractError, IsoflopError, PlanError
from isoflop.planning.flops import count_step
from isoflop.planning.means import check_means
from isoflop.planning.search import largest_below
from isoflop.task import Task

__all__ = [
    "SizeCount",
    "check_task",
    "count_or_reason",
    "count_size",
    "num_params_at",
    "size_near",
    "sizes_between",
    "sizes_near",
    "smallest_size",
    "try_count",
]

MAX_CPU_PARAMS = 50e6
"""Models above this are not built on the CPU just to be counted."""

MAX_CHECKED_FLOPS = 5e10
"""Of a step that is made on the CPU only to see that it works: a few seconds."""

NUM_EXAMPLES = 2
"""Examples of the batch that is counted: batch normalisation needs two."""

SAME = 1e-3
"""Counts this close to each other, in ratio, are the same."""


@dataclass(frozen=True, kw_only=True)
class SizeCount:
    """What one size of the user's model costs.

    flops_per_token: FLOPs of forward and backward for one loss target, by the convention of planning/flops.py.
    params: params by convention (contract/model.py): total, non_embedding, matmul, and active where the model tells.
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
    return _params_at(task, size)[0]


@_cached
def _params_at(task: Task, size: Any) -> tuple[int, Mapping[str, int]]:
    """N of a size, and its params by convention."""
    try:
        model = build(task, size, "meta")
    except ContractError:
        raise
    except Exception:  # the user's class may do what the meta device cannot; the CPU's error is the one to show
        model = build(task, size, "cpu")
    return count_params(task, model), param_counts(model)


@_cached
def count_size(task: Task, size: Any) -> SizeCount:
    """Params and FLOPs per token of a size.

    Counted on the meta device, which takes no memory; a model that needs values is counted on the CPU, and above
    MAX_CPU_PARAMS with values assumed, where that is right at the smallest size.

    Raises ContractError where the batch or the loss breaks the contract, and whatever the model raises at a size that
    it does not support.
    """
    try:
        return _count_on(task, size, "meta")
    except Exception:
        if num_params_at(task, size) <= MAX_CPU_PARAMS:
            return _count_on(task, size, "cpu")
    if task.flops_per_token is None and _values_can_be_assumed(task):
        return _count_on(task, size, "meta", assume_values=True)
    return _six_n(task, size)


def _count_on(task: Task, size: Any, device: str, *, assume_values: bool = False) -> SizeCount:
    batch = to_device(_counting_batch(task), device)
    model = build(task, size, device)
    cost = count_step(model, lambda: _checked_loss(task, model, batch), assume_values=assume_values)
    counted = SizeCount(
        size=size,
        num_params=count_params(task, model),
        flops_per_token=cost.flops / _tokens_of(task),
        params=param_counts(model),
        activation_bytes=cost.activation_bytes / NUM_EXAMPLES if device == "meta" else None,
    )
    if task.flops_per_token is not None:
        return replace(counted, flops_per_token=float(task.flops_per_token(model)))
    return _checked_count(counted)


def _checked_loss(task: Task, model: nn.Module, batch: Any) -> torch.Tensor:
    """The loss of a batch; an error of the user's loss function is told apart from one of the model."""
    if task.step is not None:
        loss = batch_loss(task, model, batch)
    else:
        outputs = forward(task, model, batch)
        loss = _loss_of(task, outputs, batch)
    if not loss.requires_grad:
        raise ContractError("The loss must depend on the model's parameters, but it carries no gradient.")
    return loss


def _loss_of(task: Task, outputs: Any, batch: Any) -> torch.Tensor:
    try:
        return loss_of(task, outputs, batch)
    except IsoflopError:
        raise
    except Exception as error:
        raise ContractError(
            f"loss must take the model's outputs and the batch's targets, but it raised {type(error).__name__}: "
            f"{_first_line(error)}."
        ) from error


def _checked_count(counted: SizeCount) -> SizeCount:
    """The count, or 6N where nothing was counted; with a note where it looks too small."""
    if counted.flops_per_token <= 0:
        return _by_six_n(counted, "no operation of this model reports its own")
    idle = counted.params["total"] - counted.params.get("active", counted.params["total"])
    share = counted.flops_per_token / (6 * max(1, counted.params["matmul"] - idle))
    if share >= 0.5:
        return counted
    note = (
        f"Counted FLOPs per token are only {share:.2f} of 6 x the params in matrix products: a fused layer was missed "
        f"and Task(flops_per_token=) should say, or experts idle and the model has no num_active_params() to tell."
    )
    return replace(counted, notes=(note,))


def _six_n(task: Task, size: Any) -> SizeCount:
    num_params, params = _params_at(task, size)
    counted = SizeCount(size=size, num_params=num_params, flops_per_token=0.0, params=params)
    if task.flops_per_token is not None:
        return replace(counted, flops_per_token=float(task.flops_per_token(build(task, size, "meta"))))
    return _by_six_n(counted, f"it cannot run on the meta device and has more than {MAX_CPU_PARAMS:.0e} params")


def _by_six_n(counted: SizeCount, reason: str) -> SizeCount:
    which = "6 x active params x D" if "active" in counted.params else "6 N D"
    note = f"FLOPs of this model are taken as {which}, since {reason}; give Task(flops_per_token=)."
    return replace(counted, flops_per_token=6.0 * counted.params.get("active", counted.num_params), notes=(note,))


@_cached
def _values_can_be_assumed(task: Task) -> bool:
    """True where a count on the meta device with assumed values equals the real one at the smallest size."""
    size = smallest_size(task)
    if num_params_at(task, size) > MAX_CPU_PARAMS:
        return False
    try:
        assumed = _count_on(task, size, "meta", assume_values=True).flops_per_token
    except Exception:  # not a value is what the model lacks there
        return False
    return math.isclose(assumed, _count_on(task, size, "cpu").flops_per_token, rel_tol=SAME)


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
    """Raise ContractError where the task cannot be trained: a real example of both data through the smallest size."""
    check_size_param(task)
    open_data(task.val_data, "val_data")
    size = smallest_size(task)
    # On the meta device shapes are checked, values are not: the step of a deep model may take a CPU a minute.
    device = "cpu" if count_size(task, size).flops_per_token * _tokens_of(task) <= MAX_CHECKED_FLOPS else "meta"
    model = build(task, size, device).eval()  # one example is no batch to normalise over
    with torch.set_grad_enabled(task.step is not None):  # a step of the user's may need gradients
        for name, data in (("train_data", task.train_data), ("val_data", task.val_data)):
            batch = to_device(first_batch(open_data(data, name), 1), device)
            loss = batch_loss(task, model, batch)
            if device == "cpu" and not torch.isfinite(loss):
                raise ContractError(
                    f"The loss of an untrained model must be finite, but on {name} it is {loss.item()}."
                )
        if device == "cpu":
            example_flops = count_size(task, size).flops_per_token * _tokens_of(task) / NUM_EXAMPLES
            check_means(task, model, example_flops, MAX_CHECKED_FLOPS)


# -- which sizes build ---------------------------------------------------------------------------------------------


def size_near(task: Task, num_params: float, *, most: float | None = None) -> SizeCount:
    """The real size whose N is nearest to `num_params` (in ratio), and at most `most`.

    Raises PlanError where no size builds, or none is so small.
    """
    near = sizes_near(task, [num_params])[0]
    if most is None or near.num_params <= most:
        return near
    for size in _by_distance(task, most, keep=8):
        if num_params_at(task, size) <= most and (counted := try_count(task, size)) is not None:
            return counted
    raise PlanError(f"No size of {task.size_param!r} has at most {most:.3g} params; allow smaller sizes.")


def sizes_near(task: Task, wanted: list[float]) -> list[SizeCount]:
    """One real size per wanted N, each used once, in the order of `wanted`; fewer where there are not as many sizes.

    The first of them notes the sizes that are left out: named ones that do not build, others that cannot be counted.

    Raises PlanError where none can be counted.
    """
    chosen: dict[Any, SizeCount] = {}
    unbuilt = [size for size in task.sizes or () if not _builds(task, size)]
    failed = {size: f"Size {size} is left out: it raised {count_or_reason(task, size)}." for size in unbuilt}
    for num_params in wanted:
        for size in _by_distance(task, num_params, keep=len(wanted)):
            if size in chosen or size in failed:
                continue
            counted = count_or_reason(task, size)
            if isinstance(counted, SizeCount):
                chosen[size] = counted
                break
            failed[size] = f"Size {size} is left out: a training step of it raised {counted}."
    found = list(chosen.values())
    if failed and not found:
        raise PlanError(f"No size of {task.size_param!r} can be trained. {next(iter(failed.values()))}")
    return [*(replace(first, notes=(*first.notes, *failed.values())) for first in found[:1]), *found[1:]]


def sizes_between(task: Task, low: float, high: float, number: int) -> list[Any]:
    """About `number` sizes that build, evenly spaced in log, from the nearest to N = low to that of high; rising.

    Only params are counted, and hardly more models are built than are given.
    """
    if task.sizes is not None:
        built = sorted((size for size in task.sizes if _builds(task, size)), key=lambda size: num_params_at(task, size))
        inside = [size for size in built if low <= num_params_at(task, size) <= high] or built
        rows = np.linspace(0, len(inside) - 1, min(number, len(inside))).round().astype(int)
        return [inside[row] for row in dict.fromkeys(rows.tolist())]
    step = _lattice(task)
    first, last = (largest_below(_params_of_multiple(task, step), num_params) for num_params in (low, high))
    multiples = np.unique(np.geomspace(first, last, number).round().astype(int))
    return [step * k for k in multiples.tolist() if _builds(task, step * k)]


def smallest_size(task: Task) -> Any:
    """The smallest size that builds and takes a batch."""
    if task.sizes is not None:
        built = [size for size in task.sizes if _builds(task, size)]
        if not built:
            raise PlanError(_no_size_message(task))
        return min(built, key=lambda size: num_params_at(task, size))
    return _lattice(task)


def _by_distance(task: Task, num_params: float, keep: int) -> Iterator[Any]:
    """The sizes nearest to an N, nearest first; models are built only as far as they are asked for."""

    def distance(size: Any) -> float:
        return abs(math.log(num_params_at(task, size) / num_params))

    if task.sizes is not None:
        yield from sorted((size for size in task.sizes if _builds(task, size)), key=distance)
        return
    step = _lattice(task)
    middle = largest_below(_params_of_multiple(task, step), num_params)
    below = (step * k for k in range(middle, max(0, middle - keep - 1), -1))
    above = (step * k for k in range(middle + 1, middle + keep + 2))
    sides = ((size for size in side if _builds(task, size)) for side in (below, above))
    yielded = set[int]()
    for size in merge(*sides, key=distance):
        if num_params_at(task, size) not in yielded:  # a model that grows no further is the same at more sizes
            yielded.add(num_params_at(task, size))
            yield size


def _params_of_multiple(task: Task, step: int) -> Callable[[int], float]:
    """N of size k x step as a function of k; infinite where it does not build."""
    return lambda k: num_params_at(task, step * k) if _builds(task, step * k) else math.inf


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
    sizes = [step * k for k in (1, 2, 3)]
    if not all(_works(task, size) for size in sizes):
        return False
    params = [num_params_at(task, size) for size in sizes]
    if not params[0] < params[1] < params[2]:
        raise ContractError(
            f"The size parameter {task.size_param!r} must make the model larger, but sizes {step}, {2 * step} and "
            f"{3 * step} have {params[0]}, {params[1]} and {params[2]} params; name another parameter, or sizes=."
        )
    return True


def _works(task: Task, size: Any) -> bool:
    """True where the model builds and takes a batch; of one too large to be tried on the CPU, where it builds."""
    return _builds(task, size) and (num_params_at(task, size) > MAX_CPU_PARAMS or try_count(task, size) is not None)


def try_count(task: Task, size: Any) -> SizeCount | None:
    """The count of a size, or None where the model does not support it. A broken contract is raised."""
    counted = count_or_reason(task, size)
    return counted if isinstance(counted, SizeCount) else None


def count_or_reason(task: Task, size: Any) -> SizeCount | str:
    """The count of a size, or what the model raises at it. A broken contract is raised."""
    try:
        return count_size(task, size)
    except IsoflopError:
        raise
    except Exception as error:  # any error of the user's class at this size means: not a size
        return f"{type(error).__name__}: {_first_line(error) or 'no reason'}"


def _builds(task: Task, size: Any) -> bool:
    try:
        return num_params_at(task, size) > 0
    except IsoflopError:
        raise
    except Exception:
        return False


def _no_size_message(task: Task) -> str:
    if task.sizes is not None:
        reason = count_or_reason(task, task.sizes[0])
        return f"None of the sizes of Task(sizes=) builds: {task.sizes[0]!r} raises {reason}; name sizes that do."
    try:
        count_size(task, 64)
        reason = "no step between sizes works throughout (for example, only powers of two do)"
    except Exception as error:
        reason = f"at size 64 it raises {type(error).__name__}: {_first_line(error)}"
    return f"No size of {task.size_param!r} was found that builds and takes a batch: {reason}; give Task(sizes=[...])."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")
