"""Figures of a fit: the IsoFLOP curves, and the law with its interval. Each takes `ax` and returns it.

Nothing is computed here but where a line runs: numbers come from `fitting` and `predict`.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from isoflop import text
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.fitting.isoflop import IsoFLOP, Valley, valleys
from isoflop.optimum import Estimate, Optimum
from isoflop.reporting.axes import TEXT_SIZE, counts, end_key, end_labels, new_axes, powers_of_ten, scientific, tidy
from isoflop.reporting.colours import BLUE, GREY, INK, PAPER, RULE, VERMILION, ramp
from isoflop.reporting.frontier import Frontier, frontier
from isoflop.runs import Run

__all__ = ["isoflop_curves", "optimum_law", "valleys_of"]

MANY_RUNS = 200
"""Points of a budget that would hide its curve at their usual size."""

VERY_MANY_RUNS = 1000
"""Points of a budget that are drawn as one picture inside the vector figure, which stays small."""

STEPS_OF_BAND = 25
STEPS_OF_PATH = 15


def valleys_of(fit: Fit) -> tuple[Valley, ...]:
    """The curve of each budget that the fit used, drawn as its approach drew it, or as Approach 2 does by default."""
    approach = fit.approach if isinstance(fit.approach, IsoFLOP) else IsoFLOP()
    return valleys(fit.runs, window=approach.window, curve=approach.curve)


def isoflop_curves(fit: Fit, ax: Axes | None = None) -> Axes:
    """Loss against params: the runs and the fitted curve of each budget, the minima, and the law's optimum over them.

    A filled mark is a minimum between the runs; a hollow one is the lowest run of a budget whose minimum is not
    bracketed. Raises DataError without budgets.
    """
    found = valleys_of(fit)
    if not found:
        raise DataError("IsoFLOP curves need runs that share a compute budget, but no run of the fit has one.")
    ax = ax or new_axes(7.6, 4.9)
    ax.set_xscale("log")
    colours = ramp(len(found))
    for valley, colour in zip(found, colours, strict=True):
        _draw_valley(ax, valley, colour)
    _draw_path(ax, fit, found)
    _leave_out_far_runs(ax, found)
    tidy(ax, "params", "loss")
    counts(ax.xaxis)
    floors = [
        (_lowest(valley).loss, scientific(valley.budget), colour) for valley, colour in zip(found, colours, strict=True)
    ]
    end_key(ax, floors, "FLOPs")
    return ax


def optimum_law(
    fit: Fit, optimum: Optimum | None = None, ax: Axes | None = None, *, along: Frontier | None = None
) -> Axes:
    """The best params and tokens against compute with their interval; the runs' range is shaded, the answer marked.

    along: answers that are known already, to be drawn instead of computed.
    """
    ax = ax or new_axes(7.6, 4.6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    first, last = measured(fit)
    along = along or frontier(fit, reach(fit, optimum))
    ax.axvspan(first, last, color=RULE, alpha=0.45, linewidth=0, zorder=0)
    draw_band(ax, along.flops, along.num_tokens, VERMILION)
    draw_band(ax, along.flops, along.num_params, BLUE)
    _draw_minima(ax, [valley for valley in valleys_of(fit) if valley.interior])
    if optimum is not None:
        _draw_answer(ax, optimum)
    ax.set_xlim(along.flops[0], along.flops[-1])
    tidy(ax, "training compute, FLOPs", "best params and tokens")
    counts(ax.yaxis)
    powers_of_ten(ax.xaxis)
    end_labels(ax, [(along.num_params[-1, 0], "params", BLUE), (along.num_tokens[-1, 0], "tokens", VERMILION)])
    name_measured(ax, first, last)
    return ax


def _draw_valley(ax: Axes, valley: Valley, colour: str) -> None:
    num_runs = len(valley.runs)
    ax.plot(
        [run.num_params for run in valley.runs], [run.loss for run in valley.runs], "o", color=colour,
        alpha=0.75 if num_runs < MANY_RUNS else 0.3, markersize=3.8 if num_runs < MANY_RUNS else 1.6,
        markeredgewidth=0, rasterized=num_runs > VERY_MANY_RUNS,
    )  # fmt: skip
    sizes = np.geomspace(*valley.window, 100)
    ax.plot(sizes, valley.loss_at(sizes), color=colour, linewidth=1.4)
    if valley.interior:
        _mark(ax, valley.num_params, valley.loss, face=colour, edge=PAPER)
    else:  # where such a curve would have its minimum says nothing, and may lie far outside the figure
        _mark(ax, _lowest(valley).num_params, _lowest(valley).loss, face=PAPER, edge=colour)


def _lowest(valley: Valley) -> Run:
    return min(valley.runs, key=lambda run: run.loss)


def _mark(ax: Axes, x: float, y: float, *, face: str, edge: str) -> None:
    ax.plot(x, y, "D", markersize=6, markerfacecolor=face, markeredgecolor=edge, markeredgewidth=1.1, zorder=5)


def _leave_out_far_runs(ax: Axes, found: Sequence[Valley]) -> None:
    """End the figure above the curves where runs far from them would flatten all, and say how many it leaves out."""
    losses = np.array([run.loss for valley in found for run in valley.runs])
    low = float(losses.min())
    curves = max(float(np.nanmax(valley.loss_at(valley.window), initial=low)) for valley in found)
    top = max(low + 1.35 * (curves - low), float(np.quantile(losses, 0.9)))
    above = int(np.sum(losses > top))
    if not above or curves == low or ax.get_ylim()[1] - low < 1.5 * (top - low):
        return
    ax.set_ylim(top=top)
    ax.annotate(
        f"{above} runs lie above" if above > 1 else "1 run lies above", (1, 1), (0, 10), xycoords="axes fraction",
        textcoords="offset points", ha="right", va="baseline", color=GREY, fontsize=TEXT_SIZE,
    )  # fmt: skip


def _draw_path(ax: Axes, fit: Fit, found: Sequence[Valley]) -> None:
    """Where the answers of the fit run over the budgets, where it says what the loss is there."""
    if len(found) < 2:
        return
    path = frontier(fit, np.geomspace(found[0].flops, found[-1].flops, STEPS_OF_PATH))
    if path.loss is not None:
        ax.plot(path.num_params[:, 0], path.loss[:, 0], color=INK, linewidth=1.1, linestyle=(0, (5, 3)), zorder=4)


def measured(fit: Fit) -> tuple[float, float]:
    """FLOPs of the smallest and of the largest run."""
    spent = [run.flops for run in fit.runs]
    return min(spent), max(spent)


def reach(fit: Fit, optimum: Optimum | None = None, steps: int = STEPS_OF_BAND) -> np.ndarray:
    """Computes from below the runs to beyond the answer, a tenth of the span to spare on either side."""
    first, last = measured(fit)
    low, high = min(first, optimum.flops if optimum else first), max(last, optimum.flops if optimum else last)
    spare = (high / low) ** 0.08
    return np.geomspace(low / spare, high * spare, steps)


def draw_band(ax: Axes, flops: np.ndarray, estimates: np.ndarray, colour: str) -> None:
    """A line and its interval, from columns of value, low and high."""
    ax.plot(flops, estimates[:, 0], color=colour, linewidth=1.6)
    ax.fill_between(flops, estimates[:, 1], estimates[:, 2], color=colour, alpha=0.18, linewidth=0)


def _draw_minima(ax: Axes, found: Sequence[Valley]) -> None:
    for heights, colour in (([v.num_params for v in found], BLUE), ([v.num_tokens for v in found], VERMILION)):
        ax.plot(
            [v.flops for v in found],
            heights,
            "D",
            color=colour,
            markersize=5.5,
            markeredgecolor=PAPER,
            markeredgewidth=1,
        )


def _draw_answer(ax: Axes, optimum: Optimum) -> None:
    params, tokens = (optimum.num_params, BLUE), (optimum.num_tokens, VERMILION)
    upper, lower = (params, tokens) if optimum.num_params.value > optimum.num_tokens.value else (tokens, params)
    _draw_estimate(ax, optimum.flops, *upper, beside=(-10, 7), align="right")
    _draw_estimate(ax, optimum.flops, *lower, beside=(9, -17), align="left")


def _draw_estimate(
    ax: Axes, flops: float, estimate: Estimate, colour: str, *, beside: tuple[float, float], align: str
) -> None:
    ax.vlines(flops, estimate.low, estimate.high, color=colour, linewidth=2.2, zorder=5)
    ax.plot(
        flops, estimate.value, "o", markersize=9, color=colour, markeredgecolor=PAPER, markeredgewidth=1.4, zorder=6
    )
    ax.annotate(
        text.count(estimate.value), (flops, estimate.value), beside, textcoords="offset points", ha=align,
        color=colour, fontsize=TEXT_SIZE + 1.5, fontweight="bold",
    )  # fmt: skip


def name_measured(ax: Axes, first: float, last: float) -> None:
    """The word under the shaded range of the runs."""
    ax.annotate(
        "measured", (np.sqrt(first * last), 0), (0, 6), xycoords=ax.get_xaxis_transform(),
        textcoords="offset points", ha="center", color=GREY, fontsize=TEXT_SIZE,
    )  # fmt: skip
