"""Two figures of held-out scores: is nominal coverage kept, and how scores grow with distance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from held_out_tables import cells_of
from held_out_tables import mean as mean_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from methods import BASELINE
from windows import BANDS, WIDTHS

from isoflop.laws.base import Array
from isoflop.reporting.axes import TEXT_SIZE, percents, tidy
from isoflop.reporting.colours import GREY, INK

LEVELS = np.arange(0.1, 0.96, 0.05)
NEAR = 5.0
"""Times beyond the largest seen budget up to which a target is near."""
WORDS = {
    "default": "isoflop's default",
    "Kriging()": "Kriging",
    "Parametric()": "Approach 3",
    "IsoFLOP()": "Approach 2",
    "Envelope()": "Approach 1",
    BASELINE: BASELINE,
}
# Okabe and Ito 2008; told apart by dashes and marks too.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "linewidth": 2.8, "marker": "o"},
    {"color": "#009e73", "linestyle": "-", "marker": "s"},
    {"color": "#d55e00", "linestyle": "--", "marker": "v"},
    {"color": "#e69f00", "linestyle": "--", "marker": "^"},
    {"color": "#cc79a7", "linestyle": "-.", "marker": "D"},
    {"color": GREY, "linestyle": ":", "marker": "x"},
    {"color": INK, "linestyle": "-", "marker": "+"},
    {"color": "#56b4e9", "linestyle": "-", "marker": "*"},
)
Found = Mapping[str, Sequence[Any]]
"""Method -> its results in windows of 3, 4 and 5 budgets."""


def covered(scores: Sequence[Any]) -> Array:
    """Share of the truths that intervals of each level hold, families alike."""
    return np.array(
        [mean_of(scores, lambda one, level=level: one.N.is_covered(level)) for level in LEVELS]
    )


def by_distance(scores: Sequence[Any], of: str) -> Array:
    """Mean interval score in each band, numbers of seen budgets alike; NaN without cases."""
    cells = cells_of(scores)
    found = []
    for band in BANDS:
        parts = [cells[width, band] for width in WIDTHS if (width, band) in cells]
        each = [mean_of(part, lambda one: getattr(one, of).interval) for part in parts]
        found.append(float(np.mean(each)) if each else math.nan)
    return np.array(found)


def calibration(found: Found) -> Figure:
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    parts = (
        (f"Up to {NEAR:g} times beyond", lambda one: one.case.ratio <= NEAR),
        (f"{NEAR:g} to 400 times beyond", lambda one: one.case.ratio > NEAR),
    )
    for ax, (title, belongs) in zip(axes, parts, strict=True):
        ax.plot([0, 1], [0, 1], color=INK, linewidth=0.9, label="as promised")
        for name, scores, style in _styled(found):
            shares = covered([one for one in scores if belongs(one)])
            ax.plot(LEVELS, shares, label=name, **{"markersize": 4, **style})
        tidy(ax, "level of the interval for the best size", f"{title}: share of minima inside")
        for axis in (ax.xaxis, ax.yaxis):
            percents(axis)
        ax.set(xlim=(0.08, 0.97), ylim=(0, 1.02), xticks=(0.2, 0.4, 0.6, 0.8))
    _key(figure, axes[0])
    return figure


def distance(found: Found) -> Figure:
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.subplots(1, 2)
    parts = (("N", "Best size: interval score of log N"), ("loss", "Loss: interval score of log L"))
    for ax, (of, title) in zip(axes, parts, strict=True):
        for name, scores, style in _styled(found):
            if getattr(scores[0], of) is not None:
                values = by_distance(scores, of)
                ax.plot(range(len(BANDS)), values, label=name, **{"markersize": 5, **style})
        ax.set_yscale("log")
        tidy(ax, "target's compute over the largest that was seen", title)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xticks(range(len(BANDS)), [f"{low:g}–{high:g}×" for low, high in BANDS])
    _key(figure, axes[0])
    return figure


def _styled(found: Found) -> Iterator[tuple[str, Sequence[Any], dict[str, Any]]]:
    for (name, scores), style in zip(found.items(), STYLES, strict=False):
        yield WORDS.get(name, name), scores, {"linewidth": 1.7, **style}


def _key(figure: Figure, ax: Axes) -> None:
    lines, names = ax.get_legend_handles_labels()
    figure.legend(
        lines,
        names,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=TEXT_SIZE,
        handlelength=3.2,
    )
