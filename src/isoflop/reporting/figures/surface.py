"""The loss over params and tokens, with the compute-optimal frontier."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from isoflop.answers.frontier import Frontier, frontier
from isoflop.answers.predict import Optimum
from isoflop.display.format import format_number
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.laws.base import Surface
from isoflop.reporting.axes import TEXT_SIZE, counts, new_axes, scientific, tidy
from isoflop.reporting.colours import BLUE, GREY, INK, PAPER, RULE, VERMILION
from isoflop.reporting.figures.law import reach

__all__ = ["loss_surface", "losses_over", "surface_of"]

STEPS = 60
LEVELS = 11
MANY_RUNS = 300


def surface_of(fit: Fit) -> Surface:
    """The law of a fit. Raises DataError for approaches without one for the loss of every size."""
    if not isinstance(fit.law, Surface):
        raise DataError(
            "This approach has no law for the loss of every size; fit with Kriging() or "
            "Parametric()."
        )
    return fit.law


def losses_over(
    fit: Fit, params: NDArray[np.float64], tokens: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Loss of the law at each size (columns) and number of tokens (rows).

    Raises DataError for approaches without a law for the loss of every size.
    """
    law = surface_of(fit)
    N, D = np.meshgrid(params, tokens)
    return np.asarray(law.loss(N.ravel(), D.ravel()), dtype=float).reshape(N.shape)


def loss_surface(
    fit: Fit,
    optimum: Optimum | None = None,
    ax: Axes | None = None,
    *,
    along: Frontier | None = None,
) -> Axes:
    """Contours of equal loss over params and tokens, the runs, and the compute-optimal frontier.

    Faint diagonals are powers of ten of the compute. Raises DataError for approaches without a law
    for the loss of every size.
    """
    along = along or frontier(fit, reach(fit, optimum))
    params, tokens = _span(fit, along, 0), _span(fit, along, 1)
    losses = losses_over(fit, params, tokens)
    ax = ax or new_axes(7.6, 5.4)
    ax.set_xscale("log")
    ax.set_yscale("log")
    drawn = ax.contour(
        params, tokens, losses, levels=_levels(losses), colors=[GREY], linewidths=0.7, zorder=1
    )
    ax.clabel(
        drawn,
        fmt=lambda level: format_number(level, 3),
        fontsize=TEXT_SIZE - 1.5,
        colors=[GREY],
        inline_spacing=4,
    )
    many = len(fit.runs) > MANY_RUNS
    ax.plot(
        [run.num_params for run in fit.runs], [run.num_tokens for run in fit.runs], "o",
        color=BLUE, alpha=0.2 if many else 0.75, markersize=2 if many else 3.6, markeredgewidth=0,
        rasterized=many, zorder=2,
    )  # fmt: skip
    ax.plot(
        along.num_params[:, 0], along.num_tokens[:, 0], color=VERMILION, linewidth=1.8, zorder=3
    )
    ax.set_xlim(params[0], params[-1])
    ax.set_ylim(tokens[0], tokens[-1])
    tidy(ax, "params", "tokens")
    ax.grid(visible=False)
    _draw_computes(ax, along)
    counts(ax.xaxis)
    counts(ax.yaxis)
    _name(ax, optimum)
    return ax


def _span(fit: Fit, along: Frontier, which: int) -> NDArray[np.float64]:
    """Values from the smallest to the largest of runs and frontier."""
    of_runs = [(run.num_params, run.num_tokens)[which] for run in fit.runs]
    line = (along.num_params, along.num_tokens)[which][:, 0]
    low, high = min(*of_runs, line.min()), max(*of_runs, line.max())
    spare = (high / low) ** 0.03
    return np.geomspace(low / spare, high * spare, STEPS)


def _levels(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses of evenly spaced contours: quantiles of the surface."""
    return np.unique(np.quantile(losses, np.linspace(0.02, 0.95, LEVELS)))


def _draw_computes(ax: Axes, along: Frontier) -> None:
    """Diagonals of equal compute through the frontier, at powers of ten."""
    low, high = np.log10(along.flops[[0, -1]])
    step = max(1, round((high - low) / 5))
    for power in range(int(np.ceil(low)), int(np.floor(high)) + 1, step):
        N, D = (
            np.exp(np.interp(power, np.log10(along.flops), np.log(column[:, 0])))
            for column in (along.num_params, along.num_tokens)
        )
        far = np.array([1e-3, 1e3])
        ax.plot(N * far, D / far, color=RULE, linewidth=1, zorder=0)
        ax.annotate(
            scientific(10.0**power), (N, D), (7, -3), textcoords="offset points", color=VERMILION,
            fontsize=TEXT_SIZE - 1, va="top", ha="left",
        )  # fmt: skip
        ax.plot(N, D, "o", color=VERMILION, markersize=3.5, zorder=4)


def _name(ax: Axes, optimum: Optimum | None) -> None:
    if optimum is None:
        return
    place = (optimum.num_params.value, optimum.num_tokens.value)
    ax.plot(
        *place, "o", markersize=9, color=INK, markeredgecolor=PAPER, markeredgewidth=1.4, zorder=6
    )
    ax.annotate(
        "the answer", place, (-9, 5), textcoords="offset points", color=INK, fontsize=TEXT_SIZE,
        fontweight="bold", ha="right",
    )  # fmt: skip
