"""Colours of figures and page, on light and dark paper; distinct for colour-blind readers too.

Lines are blue and vermilion of Okabe & Ito 2008, budgets run along viridis.
"""

from matplotlib import colormaps
from matplotlib.colors import to_hex

__all__ = ["BLUE", "DARK", "GREY", "INK", "PAPER", "RULE", "VERMILION", "ramp"]

INK, GREY, RULE, PAPER = "#1b1a17", "#6a665d", "#dfdbd2", "#fdfcf9"
BLUE, VERMILION = "#0072b2", "#d55e00"

DARK = {
    INK: "#e8e5dd",
    GREY: "#a19c91",
    RULE: "#34353a",
    PAPER: "#16171a",
    BLUE: "#56b4e9",
    VERMILION: "#f0a06a",
}
"""The colour on dark paper for each one on light paper."""

# The ends of viridis that would vanish on the paper are left out.
_LIGHT_ENDS, _DARK_ENDS = (0.0, 0.8), (0.34, 1.0)


def ramp(length: int, *, dark: bool = False) -> list[str]:
    """One colour per budget, from the smallest to the largest."""
    low, high = _DARK_ENDS if dark else _LIGHT_ENDS
    steps = [low + (high - low) * i / max(length - 1, 1) for i in range(length)]
    return [to_hex(colormaps["viridis"](step)) for step in steps]
