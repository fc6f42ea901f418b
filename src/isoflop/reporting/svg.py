"""A figure as inline SVG: real text, no links, and colours for a light and a dark page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import StringIO

from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from isoflop.display.html import Html
from isoflop.reporting.colours import DARK, ramp

__all__ = ["dark_colours", "inline_svg", "own_style", "place", "themed"]

_POINTS = 72
"""Units of an SVG per inch."""


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's default style, whatever a user's matplotlibrc sets (TeX, other fonts)."""
    with style.context("default"):
        yield


def inline_svg(ax: Axes, name: str, label: str) -> Html:
    """The figure of `ax` as HTML, with ids prefixed by `name` and with `label` for screen readers.

    The same figure gives the same text, so that an unchanged page is the same file. The element
    carries position and limits of the axes for the page's script.
    """
    drawn, figure = StringIO(), ax.get_figure(root=True)
    assert figure is not None
    # with all of them gone, the links go too
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        _laid_out(figure).print_svg(drawn, metadata=nothing)  # type: ignore[no-untyped-call]
    body = drawn.getvalue()
    for pattern, better in (
        (
            r"^.*?<svg [^>]*?(viewBox=[^ ]* [^ ]* [^ ]* [^ ]*\")[^>]*>",
            rf'<svg \1 role="img" aria-label="{escape(label)}" data-name="{name}" '
            rf'data-axes="{_axes(ax)}">',
        ),
        (r"<style.*?</style>", ""),  # it would reach every element of the page
        (r"font-family: [^;]*; ", ""),
        (r"xlink:href", "href"),
        (r"\b(id=\"|href=\"#|url\(#)", rf"\g<1>{name}-"),
        (r"#[0-9a-f]{6}\b", lambda match: themed(match[0])),
    ):
        body = re.sub(pattern, better, body, flags=re.DOTALL)
    return Html(body)


def _laid_out(figure: Figure) -> FigureCanvasSVG:
    """The figure, transparent, with its layout done; `savefig` draws it a second time for that."""
    canvas, figure.dpi = FigureCanvasSVG(figure), _POINTS
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    return canvas


def place(ax: Axes, x: float, y: float) -> tuple[float, float] | None:
    """Position of a point in the SVG of a drawn figure; None outside the axes."""
    left, right, bottom, top = _box(ax)
    across, up = ax.transAxes.inverted().transform(ax.transData.transform((x, y)))
    if not (0 <= across <= 1 and 0 <= up <= 1):
        return None
    return left + across * (right - left), bottom + up * (top - bottom)


def themed(colour: str) -> str:
    """A colour for light paper in CSS, which `dark_colours` replaces on dark paper."""
    return f"var({_variable(colour)}, {colour})"


def dark_colours(num_budgets: int) -> str:
    """CSS that replaces every colour of the figures on dark paper."""
    pairs = {**DARK, **dict(zip(ramp(num_budgets), ramp(num_budgets, dark=True), strict=True))}
    return " ".join(f"{_variable(light)}: {dark};" for light, dark in pairs.items())


def _axes(ax: Axes) -> str:
    """Left, right, bottom and top of the axes in the SVG, then their limits: x, x, y, y."""
    ends = (*_box(ax), *ax.get_xlim(), *ax.get_ylim())
    return " ".join(f"{float(end):.9g}" for end in ends)


def _box(ax: Axes) -> tuple[float, float, float, float]:
    figure = ax.get_figure(root=True)
    assert figure is not None
    box, (width, height) = ax.get_position(), figure.get_size_inches()
    across, down = width * _POINTS, height * _POINTS
    return box.x0 * across, box.x1 * across, (1 - box.y0) * down, (1 - box.y1) * down


def _variable(colour: str) -> str:
    return f"--c-{colour.removeprefix('#')}"
