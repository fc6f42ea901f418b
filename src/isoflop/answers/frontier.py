"""frontier(): what predict answers, for many computes at once; what figures and page draw and interpolate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from isoflop.fitting.estimates import estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Law, Surface
from isoflop.laws.cost import cost_for, interpolated_cost
from isoflop.laws.waste import band

if TYPE_CHECKING:
    from isoflop.counting.counting import SizeCount
    from isoflop.task import Task

__all__ = ["Frontier", "cost_of_sizes", "frontier", "sizes_between"]

Array = NDArray[np.float64]

FEW_RUNS = 100
KNOTS_PER_DECADE = {True: 8, False: 4}
"""With few runs, and with many, which cost more and bend the draws less."""
KNOTS_AT_LARGEST = np.linspace(-0.6, 2.0, 21)
"""Log FLOPs from the largest run where every draw of a law is computed, and so many in each decade; splines carry the
draws in between. Intervals turn where the runs end: without these, the ends of N err by up to 3 %."""
KNOTS_OF_REST = 33
"""The same for the band, which changes slowly."""
MOST_SIZES = 48
"""Sizes of a task that are looked for between two counts of params; counting one of a deep model takes a second."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """Compute-optimal answers for k computes; each with value, low and high as columns, as `predict` gives them."""

    flops: Array
    """Shape (k,)."""
    num_params: Array
    """Shape (k, 3), as all that follows; None where the approach does not say."""
    num_tokens: Array
    loss: Array | None
    band: Array | None
    """Smallest and largest num_params within 1 % of the compute, shape (k, 2)."""
    cost: CostPerToken | None = None
    """FLOPs per token as a function of size that they were found under."""


def frontier(fit: Fit, flops: ArrayLike, cost: CostPerToken | None = None) -> Frontier:
    """The answers at rising `flops`, what a token costs being measured on the runs unless `cost` says it.

    The value is the law's at each compute. Its draws are computed at a few computes and carried by splines.
    """
    C = np.asarray(flops, dtype=float)
    cost = cost if cost is not None else cost_for(fit.law, fit.runs)
    values, draws = _optima(fit.law, C, cost), _drawn(fit, C, cost)
    return Frontier(
        flops=C,
        num_params=_estimates(values[0], draws[0], fit.level),
        num_tokens=_estimates(values[1], draws[1], fit.level),
        loss=None
        if values[2] is None or draws[2] is None
        else _estimates(values[2], draws[2], fit.level),
        band=_bands(fit.law, C, values[0], cost),
        cost=cost,
    )


def cost_of_sizes(sizes: Sequence["SizeCount"]) -> CostPerToken | None:
    """What a token costs as counted on some sizes of a task; None without sizes."""
    if not sizes:
        return None
    return interpolated_cost(
        [size.num_params for size in sizes], [size.flops_per_token for size in sizes]
    )


def sizes_between(task: "Task", smallest: float, largest: float) -> list["SizeCount"]:
    """Sizes of a task that can be built, from the one nearest to `smallest` params to the one nearest to `largest`."""
    from isoflop.counting.counting import count_size  # needs torch
    from isoflop.counting.sizes import size_near  # needs torch
    from isoflop.counting.trials import num_params_at  # needs torch

    ends = size_near(task, smallest), size_near(task, largest)
    if task.sizes is not None and len(task.sizes) <= MOST_SIZES:
        low, high = (end.num_params for end in ends)
        found = [
            count_size(task, size)
            for size in task.sizes
            if low <= num_params_at(task, size) <= high
        ]
    else:
        grid = np.geomspace(smallest, largest, MOST_SIZES)
        found = [*ends, *_between(task, grid, 0, len(grid) - 1, ends)]
    return sorted({size.size: size for size in found}.values(), key=lambda size: size.num_params)


def _between(task: "Task", grid: Array, first: int, last: int, ends: Any) -> list["SizeCount"]:
    """Sizes near the places of a grid between two that are known; nothing is built where both are the same."""
    from isoflop.counting.sizes import size_near  # needs torch

    if last - first < 2 or ends[0].size == ends[1].size:
        return []
    middle = (first + last) // 2
    found = size_near(task, float(grid[middle]))
    left = _between(task, grid, first, middle, (ends[0], found))
    return [*left, found, *_between(task, grid, middle, last, (found, ends[1]))]


def _optima(law: Law, C: Array, cost: CostPerToken | None) -> tuple[Array, Array, Array | None]:
    """N, D and loss of a law's optima; the loss from N and D where that saves looking for them again."""
    N, D = law.optimum(C, cost)
    known = cost is not None and isinstance(law, Surface)
    loss = law.loss(N, D) if known and isinstance(law, Surface) else law.optimal_loss(C, cost)
    return np.asarray(N), np.asarray(D), None if loss is None else np.asarray(loss)


def _drawn(fit: Fit, C: Array, cost: CostPerToken | None) -> tuple[Array, Array, Array | None]:
    """Draws of N, D and loss at each compute, shape (k, B)."""
    knots = _knots(fit, C)
    if len(knots) >= len(C):
        return _optima(fit.resamples, C[:, None], cost)
    found = _optima(fit.resamples, np.exp(knots)[:, None], cost)
    return tuple(None if part is None else _carried(knots, part, np.log(C)) for part in found)  # type: ignore[return-value]


def _knots(fit: Fit, C: Array) -> Array:
    """Log FLOPs of the places where draws are computed."""
    first, last = math.log(C[0]), math.log(C[-1])
    even = np.linspace(
        first,
        last,
        math.ceil(KNOTS_PER_DECADE[len(fit.runs) <= FEW_RUNS] * (last - first) / math.log(10)) + 2,
    )
    close = math.log(fit.largest) + KNOTS_AT_LARGEST
    return np.unique(np.concatenate([even, close[(close > first) & (close < last)]]))


def _carried(knots: Array, draws: Array, x: Array) -> Array:
    """Draws between the knots; those that are not finite everywhere are left out, as an interval leaves them out."""
    with np.errstate(all="ignore"):
        log = np.log(draws)
    usable = np.isfinite(log).all(axis=0)
    return np.asarray(np.exp(CubicSpline(knots, log[:, usable])(x)))


def _estimates(values: Array, draws: Array, level: float) -> Array:
    found = [estimate(value, row, level) for value, row in zip(values, draws, strict=True)]
    return np.array([(one.value, one.low, one.high) for one in found])


def _bands(law: Law, C: Array, N: Array, cost: CostPerToken | None) -> Array | None:
    """Both ends of the band at each compute, from their distance to the best size at a few."""
    knots = _few(C)
    found = [band(law, float(flops), cost) for flops in knots]
    if None in found:
        return None
    away = np.log(np.array(found) / _optima(law, knots, cost)[0][:, None])
    return np.asarray(N[:, None] * np.exp(_between_knots(knots, away, C)))


def _few(C: Array) -> Array:
    return C if len(C) <= KNOTS_OF_REST else np.geomspace(C[0], C[-1], KNOTS_OF_REST)


def _between_knots(knots: Array, values: Array, C: Array) -> Array:
    """Values at knots carried to other computes, along log FLOPs."""
    return (
        values
        if len(knots) == len(C)
        else np.asarray(PchipInterpolator(np.log(knots), values)(np.log(C)))
    )
