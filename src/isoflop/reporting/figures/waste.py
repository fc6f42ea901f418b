"""Compute wasted by other sizes than the best, at one compute."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from isoflop.display.format import format_flops, format_interval
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken
from isoflop.laws.cost import cost_for
from isoflop.laws.waste import band, expected_waste, wasted_share
from isoflop.reporting.axes import TEXT_SIZE, counts, new_axes, percents, tidy
from isoflop.reporting.colours import BLUE, INK, PAPER

__all__ = ["regret_curve", "wastes"]

REACH = 4.0
"""Factor on the best size shown on either side."""
STEPS, STEPS_DRAWN = 17, 97
MOST_SHOWN = 0.4


def wastes(
    fit: Fit, flops: float, sizes: NDArray[np.float64], cost: CostPerToken | None = None
) -> NDArray[np.float64]:
    """Share of the compute wasted at each of k sizes, shape (k, 4).

    Columns: if the law is true, expected over its draws, and the draws' quartiles. Raises DataError
    for approaches without a law for the loss, and where more compute does not lower it.
    """
    cost = cost if cost is not None else cost_for(fit.law, fit.runs)
    sure = wasted_share(fit.law, sizes, flops, cost)
    if sure is None:
        raise DataError(
            "This approach has no law for the loss of these runs; fit with Kriging() or "
            "Parametric(), or with IsoFLOP() where four budgets have a minimum."
        )
    with np.errstate(all="ignore"):
        drawn = wasted_share(fit.resamples, sizes[:, None], flops, cost)
    expected = expected_waste(fit.law, fit.resamples, sizes, flops, cost)
    assert drawn is not None
    assert expected is not None
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    if not (drawn.size and np.isfinite(sure).all()):
        raise DataError(
            f"What other sizes waste is unknown at {format_flops(flops)} FLOPs, since the law's "
            f"loss does not fall with compute there; add larger budgets."
        )
    low, high = np.quantile(drawn, [0.25, 0.75], axis=1)
    return np.stack([sure, expected, low, high], axis=1)


def regret_curve(
    fit: Fit, flops: float, ax: Axes | None = None, *, cost: CostPerToken | None = None
) -> Axes:
    """Compute wasted by each size at `flops`; sizes that waste less than 1 % are shaded.

    The line is the law's. The dashed line is expected over all the laws that the runs allow, half
    of which lie in the pale area. Raises DataError for approaches without a law for the loss, and
    where more compute does not lower it.
    """
    cost = cost if cost is not None else cost_for(fit.law, fit.runs)
    best = float(fit.law.optimum(flops, cost)[0])
    sizes = np.geomspace(best / REACH, best * REACH, STEPS)
    shares = _smooth(sizes, wastes(fit, flops, sizes, cost))
    sizes = np.geomspace(sizes[0], sizes[-1], STEPS_DRAWN)
    ax = ax or new_axes(7.6, 4.0)
    ax.set_xscale("log")
    ax.fill_between(sizes, shares[:, 2], shares[:, 3], color=BLUE, alpha=0.15, linewidth=0)
    ax.plot(sizes, shares[:, 1], color=BLUE, linewidth=1.4, linestyle=(0, (5, 3)))
    ax.plot(sizes, shares[:, 0], color=BLUE, linewidth=1.8)
    top = min(MOST_SHOWN, 1.15 * float(shares[:, :2].max()))
    if (near := band(fit.law, flops, cost)) is not None:
        _draw_near(ax, near, top)
    ax.plot(
        best,
        0,
        "o",
        markersize=9,
        color=BLUE,
        markeredgecolor=PAPER,
        markeredgewidth=1.4,
        zorder=6,
        clip_on=False,
    )
    ax.set_xlim(sizes[0], sizes[-1])
    ax.set_ylim(0, top)
    tidy(ax, "params", f"compute wasted at {format_flops(flops)} FLOPs")
    counts(ax.xaxis)
    percents(ax.yaxis)
    for height, style, name in (
        (0.95, "-", "if the law is right"),
        (0.87, (0, (5, 3)), "expected, over the doubt"),
    ):
        ax.plot(
            (1.016, 1.065),
            (height, height),
            color=BLUE,
            linewidth=1.6,
            linestyle=style,
            transform=ax.transAxes,
            clip_on=False,
        )
        ax.text(
            1.08, height, name, color=INK, fontsize=TEXT_SIZE, va="center", transform=ax.transAxes
        )
    return ax


def _smooth(sizes: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares on a finer grid, for smooth lines."""
    log = np.log(sizes)
    return np.asarray(
        np.maximum(Akima1DInterpolator(log, shares)(np.linspace(log[0], log[-1], STEPS_DRAWN)), 0)
    )


def _draw_near(ax: Axes, ends: tuple[float, float], top: float) -> None:
    ax.axvspan(*ends, color=INK, alpha=0.07, linewidth=0, zorder=0)
    ax.annotate(
        f"{format_interval(*ends)}\nwaste less than 1 %",
        (float(np.sqrt(ends[0] * ends[1])), top), (0, -4), textcoords="offset points", ha="center",
        va="top", color=INK, fontsize=TEXT_SIZE, linespacing=1.4,
    )  # fmt: skip
