"""A figure of one's own: one function that draws computed values into `ax` and returns it."""

import numpy as np
from matplotlib.axes import Axes

from isoflop.answers.frontier import frontier
from isoflop.fitting.fit import Fit
from isoflop.reporting.axes import new_axes, powers_of_ten, tidy
from isoflop.reporting.colours import BLUE


def tokens_per_param(fit: Fit, ax: Axes | None = None) -> Axes:
    """The best number of tokens per param against compute, from the first run to ten times the last."""
    ax = ax or new_axes(7.6, 4.2)
    spent = [run.flops for run in fit.runs]
    along = frontier(fit, np.geomspace(min(spent), 10 * max(spent), 25))
    ax.set_xscale("log")
    ax.plot(along.flops, along.num_tokens[:, 0] / along.num_params[:, 0], color=BLUE)
    tidy(ax, "training compute, FLOPs", "tokens per param")
    powers_of_ten(ax.xaxis)
    return ax
