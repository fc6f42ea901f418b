"""Residuals: the deviation of each run from the law."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from isoflop.fitting.fit import Fit
from isoflop.reporting.axes import TEXT_SIZE, counts, end_key, new_axes, percents, scientific, tidy
from isoflop.reporting.colours import GREY, INK, RULE, ramp
from isoflop.reporting.figures.surface import surface_of
from isoflop.runs import Run

__all__ = ["misses", "residuals"]

VERY_MANY_RUNS = 1000
WIDEST = 6.0
"""Typical deviations shown on either side; runs beyond are counted."""


def misses(fit: Fit) -> NDArray[np.float64]:
    """Loss of each run of a fit over the law's, less 1.

    Raises DataError for approaches without a law for the loss of every size.
    """
    law = surface_of(fit)
    N, D, L = np.array([(run.num_params, run.num_tokens, run.loss) for run in fit.runs]).T
    return np.asarray(L / law.loss(N, D) - 1, dtype=float)


def residuals(fit: Fit, ax: Axes | None = None) -> Axes:
    """Deviation of each run's loss from the law against tokens per param, coloured by budget.

    Half of the runs lie in the shaded range. Waves across sizes are misfit of the law; a budget
    that lies apart is a change between the runs. Raises DataError for approaches without a law for
    the loss of every size.
    """
    away = misses(fit)
    ax = ax or new_axes(7.6, 3.6)
    ax.set_xscale("log")
    usual = float(np.median(np.abs(away)))
    ax.axhspan(-usual, usual, color=RULE, alpha=0.5, linewidth=0, zorder=0)
    ax.axhline(0, color=INK, linewidth=0.9, zorder=1)
    _draw_runs(ax, fit.runs, away)
    edge = min(float(np.abs(away).max()) * 1.1, WIDEST * usual) or 1e-6
    ax.set_ylim(-edge, edge)
    tidy(ax, "tokens per param", "loss of the run above the law's")
    ax.grid(visible=False)
    counts(ax.xaxis)
    percents(ax.yaxis)
    outside = int((np.abs(away) > edge).sum())
    if outside:
        ax.annotate(
            f"{outside} run{'s lie' if outside > 1 else ' lies'} beyond", (1, 1), (0, 10),
            xycoords="axes fraction", textcoords="offset points", ha="right", va="baseline",
            color=GREY, fontsize=TEXT_SIZE,
        )  # fmt: skip
    return ax


def _draw_runs(ax: Axes, runs: tuple[Run, ...], away: NDArray[np.float64]) -> None:
    budgets = sorted({run.budget for run in runs if run.budget is not None})
    colours: dict[float | None, str] = dict(zip(budgets, ramp(len(budgets)), strict=True))
    per_param = np.array([run.num_tokens / run.num_params for run in runs])
    for budget in (None, *budgets):
        mine = np.array([run.budget == budget for run in runs])
        ax.plot(
            per_param[mine], away[mine], "o", color=colours.get(budget, GREY), markersize=4.2,
            alpha=0.8, markeredgewidth=0, zorder=2, rasterized=len(runs) > VERY_MANY_RUNS,
        )  # fmt: skip
    bottom, top = float(away.min()), float(away.max())
    names = [
        (bottom + (top - bottom) * (i + 1) / (len(budgets) + 1), scientific(b))
        for i, b in enumerate(budgets)
    ]
    if names:
        keys = [
            (height, name, colours[b]) for (height, name), b in zip(names, budgets, strict=True)
        ]
        end_key(ax, keys, "FLOPs")
