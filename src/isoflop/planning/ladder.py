"""The real sizes that a target's sweep may choose among, with what a token costs at each."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from isoflop.errors import IsoflopError, PlanError
from isoflop.fitting.costs import interpolated_cost
from isoflop.planning.design import ENDS, LARGEST_SHARE
from isoflop.planning.limits import Room
from isoflop.planning.memory import STATE_BYTES_PER_PARAM
from isoflop.planning.places import Ladder
from isoflop.planning.sizing import SizeCount, count_size, num_params_at, sizes_between
from isoflop.planning.tokens import TokenSupply
from isoflop.runs import Run
from isoflop.task import Task
from isoflop.text import count

__all__ = ["TOKENS_PER_PARAM", "ladder_of"]

TOKENS_PER_PARAM = 20.0
"""Guess of the optimum where nothing is known (Hoffmann et al. 2022)."""
NUM_SIZES, NUM_COUNTED = 48, 6
"""Sizes that are built, and those of them whose FLOPs are counted; the others' are interpolated between them."""
REACH = 40.0
"""Factor on N beyond the guesses for the smallest and the largest run: the guess may be off by 10, and a run by 4."""
MIN_SIZES = 3


def ladder_of(task: Task, supply: TokenSupply, *, spend: float, runs: Sequence[Run], room: Room) -> Ladder:
    """Sizes within reach of the runs that `spend` FLOPs pay for, those aside at which a run has failed.

    Raises PlanError where there are fewer than three.
    """
    low, high = (math.sqrt(flops / (6 * TOKENS_PER_PARAM)) for flops in (ENDS[0] / 3 * spend, LARGEST_SHARE * spend))
    failed = {run.size for run in runs if run.status == "failed"}
    near = sizes_between(task, low / REACH, high * REACH, NUM_SIZES)
    found = {size: num_params_at(task, size) for size in near if size not in failed}
    fits = {size: N for size, N in found.items() if not room.binds or room.num_bytes >= STATE_BYTES_PER_PARAM * N}
    sizes = _held(task, room, sorted(fits, key=lambda size: fits[size]))
    counted = _counted(task, sizes)
    if len(sizes) < MIN_SIZES or len(counted) < 1:
        raise PlanError(
            f"A sweep needs at least {MIN_SIZES} sizes that train, but {task.size_param!r} has only {len(sizes)} from "
            f"{count(low / REACH)} to {count(high * REACH)} params; allow more sizes."
        )
    N = np.array([fits[size] for size in sizes], dtype=float)
    cost = interpolated_cost([one.num_params for one in counted], [one.flops_per_token for one in counted])
    return Ladder(N, np.asarray(cost(N)), _most_tokens(task, supply), tuple(sizes))


def _held(task: Task, room: Room, sizes: list[Any]) -> list[Any]:
    """Rising sizes up to the largest whose activations fit beside its states."""

    def is_too_large(size: Any) -> bool:
        try:
            return not room.holds(count_size(task, size))
        except IsoflopError:
            raise
        except Exception:  # any error of the user's class at this size: another's to tell
            return False

    return sizes[: bisect_left(sizes, True, key=is_too_large)] if room.binds else sizes


def _counted(task: Task, sizes: Sequence[object]) -> list[SizeCount]:
    """Some of the sizes, evenly spaced, with their FLOPs; those that the model does not support are left out."""
    rows = np.linspace(0, len(sizes) - 1, min(NUM_COUNTED, len(sizes))).round().astype(int)
    counted = []
    for row in dict.fromkeys(rows.tolist()):
        try:
            counted.append(count_size(task, sizes[row]))
        except IsoflopError:
            raise
        except Exception:  # any error of the user's class at this size means: not a size
            continue
    return counted


def _most_tokens(task: Task, supply: TokenSupply) -> float:
    if supply.unique_tokens is None or task.recipe.epochs is None:
        return math.inf
    return supply.unique_tokens * task.recipe.epochs
