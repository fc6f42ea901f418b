"""The optimum against compute: its params and tokens, and its loss, each with interval."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from isoflop.answers.frontier import Frontier, frontier
from isoflop.answers.predict import Estimate, Optimum
from isoflop.display.format import format_count, format_number
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import Valley
from isoflop.fitting.fit import Fit
from isoflop.reporting.axes import (
    TEXT_SIZE,
    counts,
    end_labels,
    losses,
    new_axes,
    powers_of_ten,
    tidy,
)
from isoflop.reporting.colours import BLUE, GREY, INK, PAPER, RULE, VERMILION
from isoflop.reporting.figures.curves import valleys_of

__all__ = ["loss_frontier", "optimum_law", "reach"]

STEPS_OF_BAND = 25
MANY_RUNS = 300
"""Number of runs beyond which they are rasterised, so that the figure stays small."""


def optimum_law(
    fit: Fit,
    optimum: Optimum | None = None,
    ax: Axes | None = None,
    *,
    along: Frontier | None = None,
) -> Axes:
    """The best params and tokens against compute, with intervals and the answer marked.

    The runs' range is shaded. along: Known answers, drawn instead of computed.
    """
    ax = ax or new_axes(7.6, 4.6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    first, last = _measured(fit)
    along = along or frontier(fit, reach(fit, optimum))
    ax.axvspan(first, last, color=RULE, alpha=0.45, linewidth=0, zorder=0)
    _draw_band(ax, along.flops, along.num_tokens, VERMILION)
    _draw_band(ax, along.flops, along.num_params, BLUE)
    _draw_minima(ax, [valley for valley in valleys_of(fit) if valley.interior])
    if optimum is not None:
        _draw_answer(ax, optimum)
    ax.set_xlim(along.flops[0], along.flops[-1])
    tidy(ax, "training compute, FLOPs", "best params and tokens")
    counts(ax.yaxis)
    powers_of_ten(ax.xaxis)
    end_labels(
        ax,
        [(along.num_params[-1, 0], "params", BLUE), (along.num_tokens[-1, 0], "tokens", VERMILION)],
    )
    _name_measured(ax, first, last)
    return ax


def loss_frontier(
    fit: Fit,
    optimum: Optimum | None = None,
    ax: Axes | None = None,
    *,
    along: Frontier | None = None,
) -> Axes:
    """The loss of the best model against compute, with its interval, the runs and the answer.

    along: Known answers, drawn instead of computed. Raises DataError for approaches without a law
    for the loss.
    """
    along = along or frontier(fit, reach(fit, optimum))
    if along.loss is None:
        raise DataError(
            "This approach has no law for the loss of these runs; fit with Kriging() or "
            "Parametric(), or with IsoFLOP() where four budgets have a minimum."
        )
    ax = ax or new_axes(7.6, 4.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    first, last = _measured(fit)
    ax.axvspan(first, last, color=RULE, alpha=0.45, linewidth=0, zorder=0)
    _draw_runs(ax, fit)
    _draw_band(ax, along.flops, along.loss, INK)
    if optimum is not None and optimum.loss is not None:
        _draw_estimate(
            ax,
            optimum.flops,
            optimum.loss,
            INK,
            beside=(-9, -17),
            align="right",
            write=lambda loss: format_number(loss, 4),
        )
    ax.set_xlim(along.flops[0], along.flops[-1])
    _leave_room_for_losses(ax, fit, along.loss)
    tidy(ax, "training compute, FLOPs", "loss")
    losses(ax.yaxis)
    powers_of_ten(ax.xaxis)
    _name_measured(ax, first, last)
    return ax


def _draw_runs(ax: Axes, fit: Fit) -> None:
    many = len(fit.runs) > MANY_RUNS
    ax.plot(
        [run.flops for run in fit.runs], [run.loss for run in fit.runs], "o", color=GREY,
        alpha=0.25 if many else 0.5, markersize=2 if many else 3.4, markeredgewidth=0,
        rasterized=many,
    )  # fmt: skip


def _leave_room_for_losses(ax: Axes, fit: Fit, estimates: np.ndarray) -> None:
    """Set limits from below the interval to the runs' upper decile, without a few diverged runs."""
    top = max(float(estimates[:, 2].max()), float(np.quantile([run.loss for run in fit.runs], 0.9)))
    low = float(np.nanmin(estimates[:, 1]))
    ax.set_ylim(low / (top / low) ** 0.12, top * (top / low) ** 0.04)


def _measured(fit: Fit) -> tuple[float, float]:
    """FLOPs of the smallest and of the largest run."""
    spent = [run.flops for run in fit.runs]
    return min(spent), max(spent)


def reach(fit: Fit, optimum: Optimum | None = None, steps: int = STEPS_OF_BAND) -> np.ndarray:
    """Computes from below the runs to beyond the answer, a tenth of the span to either side."""
    first, last = _measured(fit)
    low, high = (
        min(first, optimum.flops if optimum else first),
        max(last, optimum.flops if optimum else last),
    )
    spare = (high / low) ** 0.08
    return np.geomspace(low / spare, high * spare, steps)


def _draw_band(ax: Axes, flops: np.ndarray, estimates: np.ndarray, colour: str) -> None:
    """A line and its interval, from columns of value, low and high."""
    ax.plot(flops, estimates[:, 0], color=colour, linewidth=1.6)
    ax.fill_between(flops, estimates[:, 1], estimates[:, 2], color=colour, alpha=0.18, linewidth=0)


def _draw_minima(ax: Axes, valleys: Sequence[Valley]) -> None:
    for heights, colour in (
        ([v.num_params for v in valleys], BLUE),
        ([v.num_tokens for v in valleys], VERMILION),
    ):
        ax.plot(
            [v.flops for v in valleys],
            heights,
            "D",
            color=colour,
            markersize=5.5,
            markeredgecolor=PAPER,
            markeredgewidth=1,
        )


def _draw_answer(ax: Axes, optimum: Optimum) -> None:
    params, tokens = (optimum.num_params, BLUE), (optimum.num_tokens, VERMILION)
    upper, lower = (
        (params, tokens)
        if optimum.num_params.value > optimum.num_tokens.value
        else (tokens, params)
    )
    _draw_estimate(ax, optimum.flops, *upper, beside=(-10, 7), align="right")
    _draw_estimate(ax, optimum.flops, *lower, beside=(9, -17), align="left")


def _draw_estimate(
    ax: Axes,
    flops: float,
    estimate: Estimate,
    colour: str,
    *,
    beside: tuple[float, float],
    align: str,
    write: Callable[[float], str] = format_count,
) -> None:
    ax.vlines(flops, estimate.low, estimate.high, color=colour, linewidth=2.2, zorder=5)
    ax.plot(
        flops,
        estimate.value,
        "o",
        markersize=9,
        color=colour,
        markeredgecolor=PAPER,
        markeredgewidth=1.4,
        zorder=6,
    )
    ax.annotate(
        write(estimate.value), (flops, estimate.value), beside, textcoords="offset points",
        ha=align, color=colour, fontsize=TEXT_SIZE + 1.5, fontweight="bold",
    )  # fmt: skip


def _name_measured(ax: Axes, first: float, last: float) -> None:
    """Write the word under the shaded range of the runs."""
    ax.annotate(
        "measured", (np.sqrt(first * last), 0), (0, 6), xycoords=ax.get_xaxis_transform(),
        textcoords="offset points", ha="center", color=GREY, fontsize=TEXT_SIZE,
    )  # fmt: skip
