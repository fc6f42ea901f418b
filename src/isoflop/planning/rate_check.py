"""The check of a sweep's learning rates: short runs at two sizes, beside those of the law.

Each size is trained at the planned rate, at half and at twice of it, so that the losses show on
which side of the best rate it lies, and whether that changes with size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.display.format import format_flops, format_percent
from isoflop.notes.note import Note
from isoflop.planning.specs import make_spec
from isoflop.runs import RunSpec

__all__ = ["SHARE", "RateCheck", "rate_check"]

SHARE = 0.03
"""Share of a sweep's FLOPs that the check may cost."""
FACTORS = (0.5, 1.0, 2.0)
"""Multiples of the planned rate that are tried."""
SMALL_SHARE = 0.2
"""Share of the check's FLOPs for the smaller size, at most."""
SEEDS, FEWEST_SEEDS = 3, 2
"""Seeds of each rate: what losses differ by must be more than their noise. A third seed of the
larger size tells more than a size that is larger by a quarter; two where no size pays for three."""
RATIO, LEAST_RATIO = 4.0, 2.5
"""Intended and least ratio of the two sizes. The very smallest sizes of a sweep may learn nothing
that depends on their rate."""
SHORTER = 4.0
"""Times fewer tokens per param than in the sweep's middle, at the larger size: its runs then reach
sizes twice as large for the same FLOPs, and a sweep's largest models are trained as short."""
LEAST_STEPS = 100
"""Optimiser steps below which a run shows too little of its rate."""
TRIES = 8
"""Most candidates of the larger size, each as much smaller as the cost of the last one asks."""
OVER = 1.05
"""Batches are whole, so that runs may cost a little more than meant."""
ABOVE, CLOSER = 1.3, 0.97
"""The first candidate as a multiple of what 6 FLOPs per param and token would pay for, and each
later one as a share of the one before, at most."""


@dataclass(frozen=True)
class RateCheck:
    """Specs of a check, none where the share pays for none, and a note on them."""

    specs: tuple[RunSpec, ...] = ()
    notes: tuple[Note, ...] = ()


def rate_check(sizes: Sizes, specs: Sequence[RunSpec], whole: float) -> RateCheck:
    """The check of a sweep that begins with `specs` and costs `whole` FLOPs in all.

    The larger size is the largest that the share pays for.
    """
    allowed = SHARE * whole
    for seeds in (SEEDS, FEWEST_SEEDS):
        large = _larger(sizes, specs, (1 - SMALL_SHARE) * allowed, seeds)
        small = _smaller(sizes, specs, large, SMALL_SHARE * allowed)
        if large and small:
            runs = (*small, *large)
            return RateCheck(runs, (_checked(runs, whole),))
    return RateCheck(notes=(_unchecked(_cheapest(sizes, specs), whole),))


def _larger(sizes: Sizes, specs: Sequence[RunSpec], flops: float, seeds: int) -> list[RunSpec]:
    """Runs of the larger size, the largest that `flops` pay for; none where none trains long."""
    params, per_param = [spec.num_params for spec in specs], _middle(specs) / SHORTER
    about = math.sqrt(flops / (6 * len(FACTORS) * seeds * per_param))
    most = min(float(max(params)), ABOVE * about)
    for _ in range(TRIES):
        if most < LEAST_RATIO * min(params):
            break
        sized = sizes.near(most, most=most)
        wanted = per_param * sized.num_params
        runs = _runs(sizes, sized, wanted, seeds, specs[0].fingerprint)
        if _are_long(runs) and _cost(runs) <= flops:
            return runs
        most = sized.num_params * min(math.sqrt(flops / _cost(runs)), CLOSER)
    return []


def _cheapest(sizes: Sizes, specs: Sequence[RunSpec]) -> float:
    """FLOPs of a check at the cheapest planned size that is large and trains long enough."""
    least, per_param = min(spec.num_params for spec in specs), _middle(specs) / SHORTER
    planned = {spec.size for spec in specs if spec.num_params >= LEAST_RATIO * least}
    counts = [sizes.count(size) for size in planned]
    cells = [
        _runs(sizes, one, per_param * one.num_params, FEWEST_SEEDS, specs[0].fingerprint)
        for one in counts
    ]
    costs = [_cost(runs) for runs in cells if _are_long(runs)]
    return min(costs, default=math.inf) / (1 - SMALL_SHARE)


def _middle(specs: Sequence[RunSpec]) -> float:
    """Tokens per param of the middle of a sweep."""
    return math.exp(np.mean([math.log(spec.num_tokens / spec.num_params) for spec in specs]))


def _smaller(
    sizes: Sizes, specs: Sequence[RunSpec], large: Sequence[RunSpec], flops: float
) -> list[RunSpec]:
    """Runs of a planned size about RATIO times smaller, as long as planned where `flops` allow."""
    most = large[0].num_params if large else 0.0
    below = [spec for spec in specs if spec.num_params <= most / LEAST_RATIO]
    for planned in sorted(below, key=lambda spec: _away(spec, most / RATIO)):
        sized = sizes.count(planned.size)
        paid = flops / (len(FACTORS) * SEEDS * sized.flops_per_token)
        wanted = min(planned.num_tokens, paid)
        runs = _runs(sizes, sized, wanted, SEEDS, planned.fingerprint)
        if _are_long(runs) and _cost(runs) <= flops * OVER:
            return runs
    return []


def _away(spec: RunSpec, num_params: float) -> tuple[float, float]:
    """Distance of a size, and its tokens: the shortest run of the nearest size comes first."""
    return abs(math.log(spec.num_params / num_params)), spec.num_tokens


def _are_long(runs: Sequence[RunSpec]) -> bool:
    return min(spec.num_steps for spec in runs) >= LEAST_STEPS


def _runs(
    sizes: Sizes, sized: SizeCount, num_tokens: float, seeds: int, fingerprint: str
) -> list[RunSpec]:
    recipe, supply = sizes.recipe, sizes.supply
    planned = recipe.peak_lr(sized.num_params, num_tokens)
    tried = [replace(recipe, lr=factor * planned) for factor in FACTORS]
    first = recipe.seeds[0]
    return [
        replace(
            make_spec(
                sizes, supply, fingerprint, sized, num_tokens, seed=first + k, recipe=changed
            ),
            checked_lr=planned,
        )
        for changed in tried
        for k in range(seeds)
    ]


def _cost(specs: Sequence[RunSpec]) -> float:
    return sum(spec.flops for spec in specs)


def _checked(runs: Sequence[RunSpec], whole: float) -> Note:
    small, large, cost = runs[0].size, runs[-1].size, _cost(runs)
    text = (
        f"Training makes {len(runs)} short runs more, which check the learning rates at sizes "
        f"{small} and {large}: {format_flops(cost)} FLOPs, {format_percent(cost / whole)} of the "
        f"sweep's."
    )
    return Note("rates-checked", text)


def _unchecked(cheapest: float, whole: float) -> Note:
    share = f"{format_percent(SHARE)} of the sweep's FLOPs"
    why = (
        f"{share} pay for no two sizes {LEAST_RATIO:g} times apart and {LEAST_STEPS} steps of each"
    )
    if SHARE * whole < cheapest < math.inf:
        why = (
            f"runs of {LEAST_STEPS} steps or more would cost {format_percent(cheapest / whole)} of "
            f"the sweep's FLOPs, of which {format_percent(SHARE)} are for a check"
        )
    return Note("rates-unchecked", f"The learning rates are not checked: {why}.")
