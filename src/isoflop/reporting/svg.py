"""A figure as inline SVG: real text, no links, and colours that follow the page into the dark."""

import re
from html import escape
from io import StringIO

from matplotlib import rc_context
from matplotlib.axes import Axes

from isoflop.reporting.colours import DARK, ramp
from isoflop.reporting.html import Html

__all__ = ["dark_colours", "inline_svg"]


def inline_svg(ax: Axes, name: str, label: str) -> Html:
    """The figure of `ax` for an HTML page; `name` keeps its ids apart from other figures', `label` is read aloud.

    The same figure gives the same text, so that a page that did not change is the same file.
    """
    drawn, figure = StringIO(), ax.get_figure(root=True)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # with all of them gone, the links go too
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)  # type: ignore[union-attr]
    body = drawn.getvalue()
    for pattern, better in (
        (
            r"^.*?<svg [^>]*?(viewBox=[^ ]* [^ ]* [^ ]* [^ ]*\")[^>]*>",
            rf'<svg \1 role="img" aria-label="{escape(label)}">',
        ),
        (r"<style.*?</style>", ""),  # it would reach every element of the page
        (r"font-family: [^;]*; ", ""),
        (r"xlink:href", "href"),
        (r"\b(id=\"|href=\"#|url\(#)", rf"\g<1>{name}-"),
        (r"#[0-9a-f]{6}\b", lambda match: f"var({_variable(match[0])}, {match[0]})"),
    ):
        body = re.sub(pattern, better, body, flags=re.DOTALL)
    return Html(body)


def dark_colours(num_budgets: int) -> str:
    """CSS that gives every colour of the figures its stand-in on dark paper."""
    pairs = {**DARK, **dict(zip(ramp(num_budgets), ramp(num_budgets, dark=True), strict=True))}
    return " ".join(f"{_variable(light)}: {dark};" for light, dark in pairs.items())


def _variable(colour: str) -> str:
    return f"--c-{colour.removeprefix('#')}"
