"""The answers of all approaches, side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from isoflop.answers.by_approach import ApproachAnswer
from isoflop.answers.predict import Optimum
from isoflop.display.format import format_count, format_flops
from isoflop.errors import DataError
from isoflop.reporting.axes import TEXT_SIZE, counts, new_axes, tidy
from isoflop.reporting.colours import BLUE, GREY, INK, PAPER, RULE

__all__ = ["side_by_side"]

WIDEST = 30.0
"""Factor on the answer shown on either side; longer intervals end at the edge."""

LEAST_SPARE = 1.1
"""Least factor beyond the answers shown: where memory limits all of them, they are one size."""


def side_by_side(answers: Sequence[ApproachAnswer], ax: Axes | None = None) -> Axes:
    """The best number of params by each approach, with intervals; the first one's is shaded.

    Raises DataError where no approach has an answer.
    """
    shown = [(one, one.optimum) for one in answers if one.optimum is not None]
    if not shown:
        raise DataError("No approach has an answer to these runs.")
    ax = ax or new_axes(7.6, 0.9 + 0.52 * len(shown))
    ax.set_xscale("log")
    first = shown[0][1].num_params
    ax.axvspan(first.low, first.high, color=RULE, alpha=0.5, linewidth=0, zorder=0)
    for row, (one, optimum) in enumerate(shown):
        _draw(ax, -row, one, optimum)
    ax.set_ylim(-len(shown) + 0.35, 0.6)
    _limit(ax, [optimum for _, optimum in shown])
    tidy(ax, f"best params at {format_flops(shown[0][1].flops)} FLOPs", "")
    ax.grid(visible=False)
    ax.set_yticks([-row for row in range(len(shown))], [one.name for one, _ in shown])
    ax.tick_params(axis="y", labelcolor=INK)
    counts(ax.xaxis)
    return ax


def _draw(ax: Axes, height: float, one: ApproachAnswer, optimum: Optimum) -> None:
    params, colour = optimum.num_params, BLUE if one.is_the_answer else GREY
    ax.hlines(height, params.low, params.high, color=colour, linewidth=2.2)
    ax.plot(
        params.value,
        height,
        "o",
        markersize=8,
        color=colour,
        markeredgecolor=PAPER,
        markeredgewidth=1.3,
        zorder=5,
    )
    ax.annotate(
        format_count(params.value), (params.value, height), (0, 8), textcoords="offset points",
        ha="center", color=colour, fontsize=TEXT_SIZE,
        fontweight="bold" if one.is_the_answer else "normal",
    )  # fmt: skip


def _limit(ax: Axes, optima: Sequence[Optimum]) -> None:
    middle = optima[0].num_params.value
    ends = [end for optimum in optima for end in (optimum.num_params.low, optimum.num_params.high)]
    values = [optimum.num_params.value for optimum in optima]
    low = max(min(float(np.nanmin(ends)), *values), middle / WIDEST)
    high = min(max(float(np.nanmax(ends)), *values), middle * WIDEST)
    spare = max((high / low) ** 0.08, LEAST_SPARE)
    ax.set_xlim(low / spare, high * spare)
