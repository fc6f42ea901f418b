"""IsoFLOP curves: loss against params for each budget."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from isoflop.answers.frontier import frontier
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP, Valley
from isoflop.fitting.approaches.isoflop import valleys_of as points_valleys
from isoflop.fitting.fit import Fit
from isoflop.laws.points import Points
from isoflop.reporting.axes import TEXT_SIZE, counts, end_key, new_axes, scientific, tidy
from isoflop.reporting.colours import GREY, INK, PAPER, ramp
from isoflop.runs import Run

__all__ = ["isoflop_curves", "valleys_of"]

MANY_RUNS = 200
"""Number of runs of a budget from which on they are drawn smaller, so that its curve shows."""

VERY_MANY_RUNS = 1000
"""Number of runs of a budget beyond which they are rasterised, so that the figure stays small."""

STEPS_OF_PATH = 15


def valleys_of(fit: Fit) -> tuple[Valley, ...]:
    """The curve of each budget in the fit, by its IsoFLOP settings or Approach 2's defaults."""
    approach = fit.approach if isinstance(fit.approach, IsoFLOP) else IsoFLOP()
    return points_valleys(Points.of(fit.runs), window=approach.window, curve=approach.curve)


def isoflop_curves(fit: Fit, ax: Axes | None = None) -> Axes:
    """Loss against params: runs, fitted curve and minimum of each budget, and the law's optimum.

    A filled mark is a minimum between the runs. A hollow one is the lowest run of a budget whose
    minimum is not bracketed. Raises DataError without budgets.
    """
    valleys = valleys_of(fit)
    if not valleys:
        raise DataError(
            "IsoFLOP curves need runs that share a compute budget, but no run of the fit has one."
        )
    ax = ax or new_axes(7.6, 4.9)
    ax.set_xscale("log")
    colours = ramp(len(valleys))
    for number, (valley, colour) in enumerate(zip(valleys, colours, strict=True)):
        before = set(ax.lines)
        _draw_valley(ax, valley, colour)
        for line in set(ax.lines) - before:
            line.set_gid(f"budget-{number}-{line.get_marker()}")  # the page shows and hides budgets
    _draw_path(ax, fit, valleys)
    _leave_out_far_runs(ax, valleys)
    tidy(ax, "params", "loss")
    counts(ax.xaxis)
    floors = [
        (_lowest(valley).loss, scientific(valley.budget), colour)
        for valley, colour in zip(valleys, colours, strict=True)
    ]
    end_key(
        ax,
        floors,
        "FLOPs",
        {scientific(valley.budget): f"budget-{i}-key" for i, valley in enumerate(valleys)},
    )
    return ax


def _draw_valley(ax: Axes, valley: Valley, colour: str) -> None:
    num_runs = len(valley.runs)
    ax.plot(
        [run.num_params for run in valley.runs], [run.loss for run in valley.runs], "o",
        color=colour, alpha=0.75 if num_runs < MANY_RUNS else 0.3,
        markersize=3.8 if num_runs < MANY_RUNS else 1.6, markeredgewidth=0,
        rasterized=num_runs > VERY_MANY_RUNS,
    )  # fmt: skip
    sizes = np.geomspace(*valley.window, 100)
    ax.plot(sizes, valley.loss_at(sizes), color=colour, linewidth=1.4)
    if valley.interior:
        _mark(ax, valley.num_params, valley.loss, face=colour, edge=PAPER)
    else:  # the minimum of such a curve is meaningless, and may lie far outside the figure
        _mark(ax, _lowest(valley).num_params, _lowest(valley).loss, face=PAPER, edge=colour)


def _lowest(valley: Valley) -> Run:
    return min(valley.runs, key=lambda run: run.loss)


def _mark(ax: Axes, x: float, y: float, *, face: str, edge: str) -> None:
    ax.plot(
        x,
        y,
        "D",
        markersize=6,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=1.1,
        zorder=5,
    )


def _leave_out_far_runs(ax: Axes, valleys: Sequence[Valley]) -> None:
    """End the figure above the curves where far runs would flatten them, and note how many."""
    losses = np.array([run.loss for valley in valleys for run in valley.runs])
    low = float(losses.min())
    highest = [np.nanmax(valley.loss_at(valley.window), initial=low) for valley in valleys]
    curves = float(max(highest))
    top = max(low + 1.35 * (curves - low), float(np.quantile(losses, 0.9)))
    above = int(np.sum(losses > top))
    if not above or curves == low or ax.get_ylim()[1] - low < 1.5 * (top - low):
        return
    ax.set_ylim(top=top)
    ax.annotate(
        f"{above} runs lie above" if above > 1 else "1 run lies above", (1, 1), (0, 10),
        xycoords="axes fraction", textcoords="offset points", ha="right", va="baseline",
        color=GREY, fontsize=TEXT_SIZE,
    )  # fmt: skip


def _draw_path(ax: Axes, fit: Fit, valleys: Sequence[Valley]) -> None:
    """The optimum of the fit across the budgets, for laws with a loss."""
    if len(valleys) < 2:
        return
    path = frontier(fit, np.geomspace(valleys[0].flops, valleys[-1].flops, STEPS_OF_PATH))
    if path.loss is not None:
        ax.plot(
            path.num_params[:, 0],
            path.loss[:, 0],
            color=INK,
            linewidth=1.1,
            linestyle=(0, (5, 3)),
            zorder=4,
        )
