"""The real sizes that a target's sweep may choose among, with the FLOPs of a token at each."""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from isoflop.counting.memory import least_bytes, state_bytes
from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.display.format import format_count
from isoflop.errors import PlanError
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.laws.cost import interpolated_cost
from isoflop.notes.note import Note
from isoflop.planning.candidates import Ladder
from isoflop.planning.limits import Room
from isoflop.planning.sequential import ENDS, LARGEST_SHARE
from isoflop.runs import Run, SizeValue

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
    sizes: Sizes, supply: TokenSupply, *, spend: float, runs: Sequence[Run], room: Room
) -> Ladder:
    """Sizes within reach of the runs that `spend` FLOPs pay for, without those of failed runs.

    Raises PlanError if fewer than three fit in memory.
    """
    in_reach = _in_reach(sizes, spend, runs)
    held = _held(sizes, room, sorted(in_reach, key=lambda size: in_reach[size]))
    counted = _counted(sizes, held)
    if len(held) < MIN_SIZES or len(counted) < 1:
        low, high = _reach(spend)
        is_short = len(held) < len(in_reach)
        in_memory = f" that {room.device} has memory for" if is_short else ""
        larger = " or name larger hardware=" if is_short else ""
        raise PlanError(
            f"A sweep needs at least {MIN_SIZES} sizes that train, but {sizes.parameter!r} has "
            f"only {len(held)}{in_memory} from {format_count(low)} to {format_count(high)} params; "
            f"allow more sizes{larger}."
        )
    N = np.array([in_reach[size] for size in held], dtype=float)
    cost = interpolated_cost(
        [one.num_params for one in counted], [one.flops_per_token for one in counted]
    )
    return Ladder(N, np.asarray(cost(N)), _most_tokens(sizes, supply), tuple(held))


def too_large(
    sizes: Sizes, ladder: Ladder, *, spend: float, runs: Sequence[Run], room: Room
) -> list[Note]:
    """A note about the sizes within reach that do not fit in memory; empty if all fit."""
    if not room.binds:
        return []
    in_reach = _in_reach(sizes, spend, runs)
    left_out = sorted(set(in_reach).difference(ladder.sizes), key=lambda size: in_reach[size])
    if not left_out:
        return []
    smallest = sizes.try_count(left_out[0])
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


def _in_reach(sizes: Sizes, spend: float, runs: Sequence[Run]) -> dict[SizeValue, int]:
    """Sizes that a sweep may choose, with their N."""
    failed = {run.size for run in runs if run.status == "failed"}
    near = sizes.between(*_reach(spend), NUM_SIZES)
    return {size: sizes.num_params(size) for size in near if size not in failed}


def _held(sizes: Sizes, room: Room, rising: list[SizeValue]) -> list[SizeValue]:
    """Rising sizes up to the largest that fits in memory with the activations of one example."""
    if not room.binds or not rising:
        return rising
    middle = sizes.try_count(rising[len(rising) // 2])
    at_middle = state_bytes(*sizes.params(rising[len(rising) // 2]))

    def is_too_large(size: SizeValue) -> bool:
        states = state_bytes(*sizes.params(size))
        if room.num_bytes < states:
            return True
        # Activations grow with the params at most, so that few of the large sizes need a count.
        if middle and least_bytes(middle) * max(1.0, states / at_middle) <= room.num_bytes:
            return False
        counted = sizes.try_count(size)
        return counted is not None and not room.holds(counted)

    return rising[: bisect_left(rising, True, key=is_too_large)]


def _counted(sizes: Sizes, rising: Sequence[SizeValue]) -> list[SizeCount]:
    """Some of the sizes, evenly spaced, with their FLOPs.

    Sizes that the model does not support are left out. The largest is not counted if its FLOPs
    follow from those before it.
    """
    rows = np.linspace(0, len(rising) - 1, min(NUM_COUNTED, len(rising))).round().astype(int)
    counted: list[SizeCount] = []
    for row in dict.fromkeys(rows.tolist()):
        if len(counted) == NUM_COUNTED - 1 and _is_steady(counted):
            break
        if one := sizes.try_count(rising[row]):
            counted.append(one)
    return counted


def _is_steady(counted: Sequence[SizeCount]) -> bool:
    """True where the last two sizes have the same FLOPs per token and param."""
    before, last = (one.flops_per_token / one.num_params for one in counted[-2:])
    return abs(math.log(last / before)) < STEADY


def _most_tokens(sizes: Sizes, supply: TokenSupply) -> float:
    if supply.unique_tokens is None or sizes.recipe.epochs is None:
        return math.inf
    return supply.unique_tokens * sizes.recipe.epochs
