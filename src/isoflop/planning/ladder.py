"""The real sizes that a target's sweep may choose among, with the FLOPs of a token at each."""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from isoflop.counting.counting import SizeCount, try_count
from isoflop.counting.lattice import sizes_between
from isoflop.counting.tokens import TokenSupply
from isoflop.counting.trials import num_params_at, params_at
from isoflop.display.format import format_count
from isoflop.errors import PlanError
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.laws.cost import interpolated_cost
from isoflop.notes.note import Note
from isoflop.planning.candidates import Ladder
from isoflop.planning.cost import state_bytes
from isoflop.planning.limits import Room, least_bytes
from isoflop.planning.sequential import ENDS, LARGEST_SHARE
from isoflop.runs import Run, SizeValue
from isoflop.task import Task

__all__ = ["ladder_of", "too_large"]

NUM_SIZES, NUM_COUNTED = 48, 6
"""Sizes that are built, and sizes whose FLOPs are counted; those of the others are interpolated."""
REACH = 40.0
"""Factor on N beyond the guesses for the smallest and the largest run.

The guess may be off by 10, and a run by 4.
"""
STEADY = 2e-3
"""Relative change of FLOPs per token and param below which the largest size is not counted.

The change is that from one counted size to the next. A step of a model that is thousands of layers
deep takes a minute to count.
"""
MIN_SIZES = 3


def ladder_of(
    task: Task, supply: TokenSupply, *, spend: float, runs: Sequence[Run], room: Room
) -> Ladder:
    """Sizes within reach of the runs that `spend` FLOPs pay for, without those of failed runs.

    Raises PlanError if fewer than three fit in memory.
    """
    in_reach = _in_reach(task, spend, runs)
    sizes = _held(task, room, sorted(in_reach, key=lambda size: in_reach[size]))
    counted = _counted(task, sizes)
    if len(sizes) < MIN_SIZES or len(counted) < 1:
        low, high = _reach(spend)
        is_short = len(sizes) < len(in_reach)
        held = f" that {room.device} has memory for" if is_short else ""
        larger = " or name larger hardware=" if is_short else ""
        raise PlanError(
            f"A sweep needs at least {MIN_SIZES} sizes that train, but {task.size_param!r} has "
            f"only {len(sizes)}{held} from {format_count(low)} to {format_count(high)} params; "
            f"allow more sizes{larger}."
        )
    N = np.array([in_reach[size] for size in sizes], dtype=float)
    cost = interpolated_cost(
        [one.num_params for one in counted], [one.flops_per_token for one in counted]
    )
    return Ladder(N, np.asarray(cost(N)), _most_tokens(task, supply), tuple(sizes))


def too_large(
    task: Task, ladder: Ladder, *, spend: float, runs: Sequence[Run], room: Room
) -> list[Note]:
    """A note about the sizes within reach that do not fit in memory; empty if all fit."""
    if not room.binds:
        return []
    in_reach = _in_reach(task, spend, runs)
    left_out = sorted(set(in_reach).difference(ladder.sizes), key=lambda size: in_reach[size])
    if not left_out:
        return []
    smallest = try_count(task, left_out[0])
    if smallest is None:
        return []
    return [room.left_out(smallest, larger=len(left_out) > 1)]


def _reach(spend: float) -> tuple[float, float]:
    """N of the smallest and the largest size that a sweep may choose."""
    low, high = (
        math.sqrt(flops / (6 * TOKENS_PER_PARAM))
        for flops in (ENDS[0] / 3 * spend, LARGEST_SHARE * spend)
    )
    return low / REACH, high * REACH


def _in_reach(task: Task, spend: float, runs: Sequence[Run]) -> dict[SizeValue, int]:
    """Sizes that a sweep may choose, with their N."""
    failed = {run.size for run in runs if run.status == "failed"}
    near = sizes_between(task, *_reach(spend), NUM_SIZES)
    return {size: num_params_at(task, size) for size in near if size not in failed}


def _held(task: Task, room: Room, sizes: list[SizeValue]) -> list[SizeValue]:
    """Rising sizes up to the largest that fits in memory with the activations of one example."""
    if not room.binds or not sizes:
        return sizes
    middle = try_count(task, sizes[len(sizes) // 2])
    at_middle = state_bytes(*params_at(task, sizes[len(sizes) // 2]))

    def is_too_large(size: SizeValue) -> bool:
        states = state_bytes(*params_at(task, size))
        if room.num_bytes < states:
            return True
        # Activations grow with the params at most, so that few of the large sizes need a count.
        if middle and least_bytes(middle) * max(1.0, states / at_middle) <= room.num_bytes:
            return False
        counted = try_count(task, size)
        return counted is not None and not room.holds(counted)

    return sizes[: bisect_left(sizes, True, key=is_too_large)]


def _counted(task: Task, sizes: Sequence[object]) -> list[SizeCount]:
    """Some of the sizes, evenly spaced, with their FLOPs.

    Sizes that the model does not support are left out. The largest is not counted if its FLOPs
    follow from those before it.
    """
    rows = np.linspace(0, len(sizes) - 1, min(NUM_COUNTED, len(sizes))).round().astype(int)
    counted: list[SizeCount] = []
    for row in dict.fromkeys(rows.tolist()):
        if len(counted) == NUM_COUNTED - 1 and _is_steady(counted):
            break
        if one := try_count(task, sizes[row]):
            counted.append(one)
    return counted


def _is_steady(counted: Sequence[SizeCount]) -> bool:
    """True where the last two sizes have the same FLOPs per token and param."""
    before, last = (one.flops_per_token / one.num_params for one in counted[-2:])
    return abs(math.log(last / before)) < STEADY


def _most_tokens(task: Task, supply: TokenSupply) -> float:
    if supply.unique_tokens is None or task.recipe.epochs is None:
        return math.inf
    return supply.unique_tokens * task.recipe.epochs
