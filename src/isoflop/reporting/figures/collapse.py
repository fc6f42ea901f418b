"""Training curves over one another: well-scaled runs fall on one line, faulty ones leave it.

Qiu et al. 2025 (2507.02119) and Bergsma et al. 2025 (2509.25087).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from isoflop.display.format import format_count
from isoflop.errors import DataError
from isoflop.fitting.screening.validity import invalid
from isoflop.reporting.axes import TEXT_SIZE, end_key, new_axes, percents, scientific, tidy
from isoflop.reporting.colours import INK, VERMILION, ramp
from isoflop.runs import Run

__all__ = ["Collapse", "collapse_plot", "collapsed"]

STEPS = 20
"""Number of parts of a run; the noisy training loss is averaged over each."""
FIRST_SHARE = 0.1
"""Share of a run left out at its start, during warm-up."""
END_SHARE = 0.1
"""Share of a run at its end whose mean loss is the unit of its curve."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Collapse:
    """Curves of k runs at m shares of their training."""

    runs: tuple[Run, ...]
    share: NDArray[np.float64]
    """Share of the run's tokens, shape (m,)."""
    relative: NDArray[np.float64]
    """Training loss over its mean at the end of the run, less 1; shape (k, m)."""
    middle: NDArray[np.float64]
    """Median over the runs, shape (m,)."""
    strange: NDArray[np.bool_]
    """Whether `fit` sets the run aside for its training, shape (k,)."""


def collapsed(runs: Iterable[Run]) -> Collapse:
    """The training curves of completed runs, each in units of its own length and final loss.

    Raises DataError with fewer than 3 runs that have a curve.
    """
    runs = list(runs)
    kept = [run for run in runs if run.status == "completed" and len(run.curve) >= STEPS]
    if len(kept) < 3:
        raise DataError(
            f"A collapse plot needs at least 3 runs with a training curve of {STEPS} points, but "
            f"got {len(kept)}."
        )
    edges = np.linspace(FIRST_SHARE, 1, STEPS + 1)
    relative = np.array([_relative(run, edges) for run in kept])
    middle = np.median(relative, axis=0)
    doubted = invalid(runs)
    return Collapse(
        runs=tuple(kept),
        share=(edges[1:] + edges[:-1]) / 2,
        relative=relative,
        middle=middle,
        strange=np.array([run.id in doubted for run in kept]),
    )


def collapse_plot(runs: Iterable[Run], ax: Axes | None = None) -> Axes:
    """Training loss over its final value against the share of the run; the median in black.

    Runs that `fit` sets aside for their training are named. Raises DataError with fewer than 3 runs
    that have a curve.
    """
    curves = collapsed(runs)
    ax = ax or new_axes(7.6, 4.0)
    budgets = sorted({run.budget for run in curves.runs if run.budget is not None})
    colours: dict[float | None, str] = dict(zip(budgets, ramp(len(budgets)), strict=True))
    for run, line in zip(curves.runs, curves.relative, strict=True):
        ax.plot(curves.share, line, color=colours.get(run.budget, INK), linewidth=0.9, alpha=0.55)
    ax.plot(curves.share, curves.middle, color=INK, linewidth=1.8)
    ax.set_xlim(FIRST_SHARE, 1)
    ax.set_ylim(
        float(curves.relative.min()) * 1.05 - 1e-3,
        float(np.quantile(curves.relative, 0.995)) * 1.08,
    )
    tidy(ax, "share of the run", "training loss above its final value")
    percents(ax.xaxis)
    percents(ax.yaxis)
    low, high = ax.get_ylim()
    if budgets:
        names = [
            (low + (high - low) * (0.3 + 0.08 * i), scientific(b), colours[b])
            for i, b in enumerate(budgets)
        ]
        end_key(ax, names, "FLOPs")
    _name_strange(ax, curves)
    return ax


def _relative(run: Run, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of a curve between shares of its run, interpolated for parts without a point."""
    tokens, loss = np.array(run.curve).T
    share = tokens / tokens[-1]
    centre = (edges[1:] + edges[:-1]) / 2
    part = np.digitize(share, edges[1:-1])
    inside = (share >= edges[0]) & np.isfinite(loss)
    number = np.bincount(part[inside], minlength=len(centre))
    total = np.bincount(part[inside], loss[inside], minlength=len(centre))
    known = number > 0
    smooth = np.interp(centre, centre[known], total[known] / number[known])
    return np.asarray(smooth / loss[share > 1 - END_SHARE].mean() - 1)


def _name_strange(ax: Axes, curves: Collapse) -> None:
    for row in np.flatnonzero(curves.strange)[:3]:
        run, line = curves.runs[row], curves.relative[row]
        ax.plot(curves.share, line, color=VERMILION, linewidth=1.6)
        name = (
            f"size {run.size}" if run.size is not None else f"{format_count(run.num_params)} params"
        )
        ax.annotate(
            f"{name}, {format_count(run.num_tokens)} tokens",
            (curves.share[4], min(line[4], ax.get_ylim()[1])), (4, 4),
            textcoords="offset points", color=VERMILION, fontsize=TEXT_SIZE,
        )  # fmt: skip
