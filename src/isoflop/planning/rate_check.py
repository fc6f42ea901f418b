"""The check of a sweep's learning rates and batches: short runs at two sizes.

Each size is trained at the planned rate, at half and at twice of it, so that the losses show on
which side of the best rate it lies, and whether that changes with size; and in half and twice the
planned batch, with rates that go with its square root.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.display.format import format_flops, format_percent
from isoflop.notes.note import Note
from isoflop.planning.specs import in_batches_of, make_spec
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec

__all__ = ["SHARE", "RateCheck", "rate_check"]

SHARE = 0.03
"""Share of a sweep's FLOPs that the check may cost."""
FACTORS, BATCH_FACTORS = (0.5, 1.0, 2.0), (0.5, 2.0)
"""Multiples of the planned rate and batch that are tried."""


class Seeds(NamedTuple):
    """Seeds of each rate, and of each batch besides the planned one.

    small_share: share of the check's FLOPs for the smaller size, at most.
    """

    rates: int
    batches: int
    small_share: float


MOST = 3
SEEDS = (Seeds(MOST, 2, 0.25), Seeds(MOST, 0, 0.2), Seeds(2, 0, 0.2))
"""Of the larger size: the first of these for which a size is small enough. What losses differ by
must be more than their noise, and a third seed of its rates tells more than a size that is larger
by a quarter. The smaller size has the most."""
RATIO, LEAST_RATIO = 4.0, 2.5
"""Intended and least ratio of the two sizes. The very smallest sizes of a sweep tell little of the
others: on the text task of `benchmarks/training/rate_check.py` the line through the best rates of
1,776 and 5,880 params meets that of 22,176 params on 20 bytes each, .0122 of the .0061 to .0488
tried there with two seeds; the line through 792 and 2,952 params is four times above it."""
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
    for seeds in SEEDS:
        large = _larger(sizes, specs, (1 - seeds.small_share) * allowed, seeds)
        for_small = seeds.small_share * allowed
        small = _smaller(sizes, specs, large, for_small, seeds._replace(rates=MOST))
        if large and small:
            runs = (*small, *large)
            return RateCheck(runs, (_checked(runs, whole),))
    return RateCheck(notes=(_unchecked(_cheapest(sizes, specs), whole),))


def _larger(sizes: Sizes, specs: Sequence[RunSpec], flops: float, seeds: Seeds) -> list[RunSpec]:
    """Runs of the larger size, the largest that `flops` pay for; none where none trains long."""
    params, per_param = [spec.num_params for spec in specs], _middle(specs) / SHORTER
    about = math.sqrt(flops / (6 * _number(seeds) * per_param))
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


def _number(seeds: Seeds) -> int:
    """Runs of a size."""
    return len(FACTORS) * seeds.rates + len(BATCH_FACTORS) * seeds.batches


def _cheapest(sizes: Sizes, specs: Sequence[RunSpec]) -> float:
    """FLOPs of a check at the cheapest planned size that is large and trains long enough."""
    least, per_param = min(spec.num_params for spec in specs), _middle(specs) / SHORTER
    planned = {spec.size for spec in specs if spec.num_params >= LEAST_RATIO * least}
    counts = [sizes.count(size) for size in planned]
    cells = [
        _runs(sizes, one, per_param * one.num_params, SEEDS[-1], specs[0].fingerprint)
        for one in counts
    ]
    costs = [_cost(runs) for runs in cells if _are_long(runs)]
    return min(costs, default=math.inf) / (1 - SEEDS[-1].small_share)


def _middle(specs: Sequence[RunSpec]) -> float:
    """Tokens per param of the middle of a sweep."""
    return math.exp(np.mean([math.log(spec.num_tokens / spec.num_params) for spec in specs]))


def _smaller(
    sizes: Sizes,
    specs: Sequence[RunSpec],
    large: Sequence[RunSpec],
    flops: float,
    seeds: Seeds,
) -> list[RunSpec]:
    """Runs of a planned size about RATIO times smaller, as long as planned where `flops` allow."""
    most = large[0].num_params if large else 0.0
    below = [spec for spec in specs if spec.num_params <= most / LEAST_RATIO]
    for planned in sorted(below, key=lambda spec: _away(spec, most / RATIO)):
        sized = sizes.count(planned.size)
        paid = flops / (_number(seeds) * sized.flops_per_token)
        wanted = min(planned.num_tokens, paid)
        runs = _runs(sizes, sized, wanted, seeds, planned.fingerprint)
        if _are_long(runs) and _cost(runs) <= flops * OVER:
            return runs
    return []


def _away(spec: RunSpec, num_params: float) -> tuple[float, float]:
    """Distance of a size, and its tokens: the shortest run of the nearest size comes first."""
    return abs(math.log(spec.num_params / num_params)), spec.num_tokens


def _are_long(runs: Sequence[RunSpec]) -> bool:
    """Whether the runs of the planned batch are."""
    return min(spec.num_steps for spec in runs if spec.checked_batch is None) >= LEAST_STEPS


def _runs(
    sizes: Sizes, sized: SizeCount, num_tokens: float, seeds: Seeds, fingerprint: str
) -> list[RunSpec]:
    """Runs of a size at several rates, and in other batches."""
    recipe, supply = sizes.recipe, sizes.supply
    lr = recipe.peak_lr(sized.num_params, num_tokens)
    batch = supply.batch(recipe, sized.num_params, num_tokens)
    step_tokens = batch * supply.tokens_per_example
    # of an even number of steps, so that runs in twice the batch are as long
    wanted = 2 * step_tokens * max(1, round(num_tokens / (2 * step_tokens)))
    planned = replace(recipe, lr=lr, batch_tokens=step_tokens)
    at = (sized.num_params, wanted)
    others = [
        in_batches_of(examples * supply.tokens_per_example, planned, *at)
        for examples in _other_batches(sizes, batch)
    ]

    def trained(tried: Sequence[Recipe], number: int, checked_batch: int | None) -> list[RunSpec]:
        first = recipe.seeds[0]
        specs = [
            make_spec(sizes, supply, fingerprint, sized, wanted, seed=first + k, recipe=one)
            for one in tried
            for k in range(number)
        ]
        return [replace(spec, checked_lr=lr, checked_batch=checked_batch) for spec in specs]

    rates = [replace(planned, lr=factor * lr) for factor in FACTORS]
    return [*trained(rates, seeds.rates, None), *trained(others, seeds.batches, batch)]


def _other_batches(sizes: Sizes, batch: int) -> list[int]:
    """Half and twice a batch, where the recipe and the data allow it."""
    if sizes.supply.fixed_batch is not None:
        return []
    least = sizes.recipe.min_batch
    tried = {max(least, round(factor * batch)) for factor in BATCH_FACTORS}
    return sorted(tried - {batch})


def _cost(specs: Sequence[RunSpec]) -> float:
    return sum(spec.flops for spec in specs)


def _checked(runs: Sequence[RunSpec], whole: float) -> Note:
    small, large, cost = runs[0].size, runs[-1].size, _cost(runs)
    has_batches = any(spec.checked_batch is not None for spec in runs)
    what = "learning rates and batches" if has_batches else "learning rates, but no batches,"
    text = (
        f"Training makes {len(runs)} short runs more, which check the {what} at sizes {small} and "
        f"{large}: {format_flops(cost)} FLOPs, {format_percent(cost / whole)} of the sweep's."
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
