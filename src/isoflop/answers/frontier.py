"""frontier(): the answers of `predict` at many computes at once, for figures and the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.fitting.estimates import estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Law, Surface
from isoflop.laws.cost import cost_for, interpolated_cost
from isoflop.laws.waste import band

__all__ = ["Frontier", "cost_of_sizes", "frontier", "sizes_between"]

Array = NDArray[np.float64]

FEW_RUNS = 100
KNOTS_PER_DECADE = {True: 8, False: 4}
"""For few runs, and for many, whose draws cost more and are smoother."""
KNOTS_AT_LARGEST = np.linspace(-0.6, 2.0, 21)
"""Log FLOPs, from the largest run, at which every draw of a law is computed, besides those of each
decade. Splines interpolate the draws in between. Intervals turn where the runs end: without these
knots, the ends of N err by up to 3 %."""
KNOTS_OF_REST = 33
"""Number of knots for the band, which changes slowly."""
MOST_SIZES = 48
"""Number of sizes of a task between two counts of params; counting a deep model takes a second."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """Compute-optimal answers at k computes, with value, low and high as columns."""

    flops: Array
    """Shape (k,)."""
    num_params: Array
    """Shape (k, 3), as `num_tokens` and `loss`; None where the approach does not give it."""
    num_tokens: Array
    loss: Array | None
    band: Array | None
    """Smallest and largest num_params within 1 % of the compute, shape (k, 2)."""
    cost: CostPerToken | None = None
    """FLOPs per token as a function of size, under which the answers hold."""


@np.errstate(all="ignore")  # draws without an optimum are NaN or infinite
def frontier(fit: Fit, flops: ArrayLike, cost: CostPerToken | None = None) -> Frontier:
    """The answers at rising `flops`; the cost of a token follows the runs unless `cost` is given.

    The value is the law's at each compute. Draws are computed at a few computes and interpolated by
    splines.
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


def cost_of_sizes(sizes: Sequence[SizeCount]) -> CostPerToken | None:
    """FLOPs per token as counted on some sizes of a task; None without sizes."""
    if not sizes:
        return None
    return interpolated_cost(
        [size.num_params for size in sizes], [size.flops_per_token for size in sizes]
    )


def sizes_between(sizes: Sizes, smallest: float, largest: float) -> list[SizeCount]:
    """Sizes that can be built, from near `smallest` params to near `largest`."""
    ends = sizes.near(smallest), sizes.near(largest)
    if sizes.named is not None and len(sizes.named) <= MOST_SIZES:
        low, high = (end.num_params for end in ends)
        counts = [
            sizes.count(size) for size in sizes.named if low <= sizes.num_params(size) <= high
        ]
    else:
        grid = np.geomspace(smallest, largest, MOST_SIZES)
        counts = [*ends, *_between(sizes, grid, 0, len(grid) - 1, ends)]
    return sorted({one.size: one for one in counts}.values(), key=lambda one: one.num_params)


def _between(
    sizes: Sizes, grid: Array, first: int, last: int, ends: tuple[SizeCount, SizeCount]
) -> list[SizeCount]:
    """Sizes near the places of a grid between two known sizes; none where both are the same."""
    if last - first < 2 or ends[0].size == ends[1].size:
        return []
    middle = (first + last) // 2
    near = sizes.near(float(grid[middle]))
    left = _between(sizes, grid, first, middle, (ends[0], near))
    return [*left, near, *_between(sizes, grid, middle, last, (near, ends[1]))]


def _optima(law: Law, C: Array, cost: CostPerToken | None) -> tuple[Array, Array, Array | None]:
    """N, D and loss of a law's optima; the loss from N and D where that saves another search."""
    N, D = law.optimum(C, cost)
    known = cost is not None and isinstance(law, Surface)
    loss = law.loss(N, D) if known and isinstance(law, Surface) else law.optimal_loss(C, cost)
    return np.asarray(N), np.asarray(D), None if loss is None else np.asarray(loss)


def _drawn(fit: Fit, C: Array, cost: CostPerToken | None) -> tuple[Array, Array, Array | None]:
    """Draws of N, D and loss at each compute, shape (k, B)."""
    knots = _knots(fit, C)
    if len(knots) >= len(C):
        return _optima(fit.resamples, C[:, None], cost)
    N, D, loss = _optima(fit.resamples, np.exp(knots)[:, None], cost)
    x = np.log(C)
    known_loss = None if loss is None else _interpolated(knots, loss, x)
    return _interpolated(knots, N, x), _interpolated(knots, D, x), known_loss


def _knots(fit: Fit, C: Array) -> Array:
    """Log FLOPs at which draws are computed."""
    first, last = math.log(C[0]), math.log(C[-1])
    even = np.linspace(
        first,
        last,
        math.ceil(KNOTS_PER_DECADE[len(fit.runs) <= FEW_RUNS] * (last - first) / math.log(10)) + 2,
    )
    close = math.log(fit.largest) + KNOTS_AT_LARGEST
    return np.unique(np.concatenate([even, close[(close > first) & (close < last)]]))


def _interpolated(knots: Array, draws: Array, x: Array) -> Array:
    """Draws between the knots; those that are not finite everywhere are left out."""
    with np.errstate(all="ignore"):
        log = np.log(draws)
    usable = np.isfinite(log).all(axis=0)
    return np.asarray(np.exp(CubicSpline(knots, log[:, usable])(x)))


def _estimates(values: Array, draws: Array, level: float) -> Array:
    estimates = [estimate(value, row, level) for value, row in zip(values, draws, strict=True)]
    return np.array([(one.value, one.low, one.high) for one in estimates])


def _bands(law: Law, C: Array, N: Array, cost: CostPerToken | None) -> Array | None:
    """Both ends of the band at each compute, from their ratio to the best size at a few."""
    knots = _few(C)
    bands = [band(law, float(flops), cost) for flops in knots]
    if None in bands:
        return None
    away = np.log(np.array(bands) / _optima(law, knots, cost)[0][:, None])
    return np.asarray(N[:, None] * np.exp(_between_knots(knots, away, C)))


def _few(C: Array) -> Array:
    return C if len(C) <= KNOTS_OF_REST else np.geomspace(C[0], C[-1], KNOTS_OF_REST)


def _between_knots(knots: Array, values: Array, C: Array) -> Array:
    """Values at knots, interpolated at other computes along log FLOPs."""
    return (
        values
        if len(knots) == len(C)
        else np.asarray(PchipInterpolator(np.log(knots), values)(np.log(C)))
    )
