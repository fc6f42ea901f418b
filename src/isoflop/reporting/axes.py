"""Axes of the figures: few lines, ticks for counts and powers of ten, names beside lines."""

import math
from collections.abc import Callable, Iterable, Mapping

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, Locator, NullLocator

from isoflop.display.format import format_count, format_flops
from isoflop.reporting.colours import GREY, INK, RULE

__all__ = [
    "TEXT_SIZE",
    "counts",
    "end_key",
    "end_labels",
    "losses",
    "new_axes",
    "percents",
    "powers_of_ten",
    "scientific",
    "tidy",
]

TEXT_SIZE = 9.5

GAP = 0.055
"""Least distance between names beside the axes, as a share of the axes' height."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def new_axes(width: float, height: float) -> Axes:
    """Axes on a new figure, sizes in inches; pyplot and its state stay unchanged."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def tidy(ax: Axes, xlabel: str, ylabel: str) -> None:
    """One spine, faint horizontal lines, and the name of the vertical axis above it."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set(color=GREY, linewidth=0.8)
    ax.grid(axis="y", color=RULE, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=TEXT_SIZE, labelcolor=GREY, color=GREY, length=0)
    ax.tick_params(axis="x", length=4, width=0.8, pad=4)
    ax.set_xlabel(xlabel, fontsize=TEXT_SIZE, color=INK, labelpad=7)
    ax.set_title(ylabel, loc="left", fontsize=TEXT_SIZE, color=INK, pad=10)


def counts(axis: Axis) -> None:
    """Ticks of a logarithmic axis as counts: 100M, 200M, 500M, 1B."""
    _set_ticks(axis, _round_values, lambda value: format_count(value, 1))


def powers_of_ten(axis: Axis) -> None:
    """Ticks of a logarithmic axis as powers: 10¹⁹, 10²⁰."""
    _set_ticks(axis, _powers, scientific)


def losses(axis: Axis) -> None:
    """Ticks of a logarithmic axis of losses: 1.8, 2, 2.5, 3, 4."""
    _set_ticks(axis, _loss_values, lambda value: f"{value:g}")


def percents(axis: Axis) -> None:
    """Ticks of a linear axis of shares as percent: −1 %, 0 %, 1 %."""
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.3g} %".replace("-", "−"))
    )


def scientific(value: float, digits: int = 3) -> str:
    """A number as 6×10¹⁸, or 10¹⁹ where its first factor is one."""
    factor, power = format_flops(value, digits).split("e")
    raised = "10" + str(int(power)).translate(_SUPERSCRIPT)
    return raised if factor == "1" else f"{factor}×{raised}"


def end_labels(ax: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Names of lines right of the axes, as (height, name, colour), moved apart where they touch."""
    ordered = sorted(labels)
    for (_, name, colour), place in zip(ordered, _places(ax, ordered), strict=True):
        _beside(ax, name, place, colour)


def end_key(
    ax: Axes,
    labels: Iterable[tuple[float, str, str]],
    heading: str,
    ids: Mapping[str, str] | None = None,
) -> None:
    """The same under a heading, with a dash in the line's colour before each name.

    For colours too light for text.

    ids: name -> id of its artists in an SVG.
    """
    ordered = sorted(labels)
    places = _places(ax, ordered)
    for (_, name, colour), place in zip(ordered, places, strict=True):
        dash = ((1.016, 1.042), (place, place))
        drawn = ax.plot(*dash, color=colour, linewidth=2.4, transform=ax.transAxes, clip_on=False)[
            0
        ]
        known = (ids or {}).get(name)
        drawn.set_gid(known and f"{known}-dash")
        _beside(ax, name, place, INK, distance=27).set_gid(known)
    _beside(ax, heading, places[-1] + 1.15 * GAP, GREY)


def _beside(ax: Axes, name: str, place: float, colour: str, distance: float = 8) -> Annotation:
    return ax.annotate(
        name, (1, place), (distance, 0), xycoords="axes fraction", textcoords="offset points",
        color=colour, fontsize=TEXT_SIZE, va="center", annotation_clip=False,
    )  # fmt: skip


def _places(ax: Axes, ordered: list[tuple[float, str, str]]) -> list[float]:
    return _apart([_share(ax, height) for height, _, _ in ordered], GAP)


def _share(ax: Axes, height: float) -> float:
    """A height as a share of the vertical axis, from its limits, known before drawing."""
    low, high, at = ax.yaxis.get_transform().transform([*ax.get_ylim(), height])
    return float((at - low) / (high - low))


def _apart(places: list[float], gap: float) -> list[float]:
    """Rising places moved to be at least `gap` apart, with the same mean as before."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    shift = sum(new - old for new, old in zip(moved, places, strict=True)) / max(len(places), 1)
    return [place - shift for place in moved]


class _TickPlaces(Locator):
    """Ticks at places that follow from the current ends of the axis."""

    def __init__(self, places: Callable[[float, float], list[float]]) -> None:
        self._places = places

    def __call__(self) -> list[float]:
        assert self.axis is not None, (
            "matplotlib calls a locator only after it was given to an axis"
        )
        low, high = self.axis.get_view_interval()
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return self._places(min(vmin, vmax), max(vmin, vmax))


def _set_ticks(
    axis: Axis, places: Callable[[float, float], list[float]], write: Callable[[float], str]
) -> None:
    axis.set_major_locator(_TickPlaces(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def _round_values(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, with more in between where there is room."""
    decades = math.log10(high / low)
    parts = (1, 2, 5) if decades < 3 else (1, 3) if decades < 4.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        part * 10.0**power
        for power in powers
        for part in parts
        if low <= part * 10.0**power <= high
    ]


def _loss_values(low: float, high: float) -> list[float]:
    """At least four round values between two numbers."""
    for parts in (
        (1, 2, 5),
        (1, 1.5, 2, 3, 5, 7),
        (1, 1.2, 1.5, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9),
    ):
        values = [
            part * 10.0**power
            for power in range(-6, 7)
            for part in parts
            if low <= part * 10.0**power <= high
        ]
        if len(values) >= 4:
            return values
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next((by for by in (5, 2) if (high - low) / (by * step) >= 3), 1)
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 8))
    return [10.0**power for power in range(first, last + 1, step)]
