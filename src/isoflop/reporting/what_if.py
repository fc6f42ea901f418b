"""Answers for other computes on the page: numbers that its script interpolates, and controls."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isoflop.answers.answer_notes import FAR
from isoflop.answers.frontier import Frontier
from isoflop.answers.predict import Optimum
from isoflop.display.format import format_flops, format_percent
from isoflop.display.html import Html, tag
from isoflop.fitting.approaches.isoflop import Valley
from isoflop.fitting.fit import Fit
from isoflop.reporting.axes import scientific
from isoflop.reporting.colours import ramp
from isoflop.reporting.svg import themed

if TYPE_CHECKING:
    from isoflop.counting.sizes import SizeCount

__all__ = ["MOST_POINTS", "budget_switches", "controls", "numbers", "reachable"]

STEPS = 181
"""Number of computes between which the script interpolates; values keep 4 digits."""
BELOW, BEYOND = 1.5, 10.0
"""Factors below the smallest and beyond the largest of target and runs that the page covers."""
MOST_POINTS = 1500
"""Number of runs up to which pointing at one shows it."""
DIGITS = 7


def reachable(fit: Fit, optimum: Optimum) -> np.ndarray:
    """Computes that the page covers, from the smallest run to ten times the target or largest."""
    spent = [run.flops for run in fit.runs]
    return np.geomspace(
        min(*spent, optimum.flops) / BELOW, BEYOND * max(*spent, optimum.flops), STEPS
    )


def numbers(
    fit: Fit,
    optimum: Optimum,
    along: Frontier,
    sizes: "Sequence[SizeCount]",
    points: Sequence[tuple[float, float, int, str]],
) -> Html:
    """The data of the page's script, as JSON from which no text of a user can escape.

    points: runs in the figure of the curves: x, y, number of the budget, description.
    """
    values: dict[str, object] = {
        "target": optimum.flops,
        "unit": optimum.unit,
        "level": format_percent(optimum.level),
        "smallest": fit.smallest,
        "largest": fit.largest,
        "far": FAR,
        "flops": _column(along.flops),
        "params": _columns(along.num_params),
        "tokens": _columns(along.num_tokens),
        "loss": _columns(along.loss),
        "band": _columns(along.band),
        "sizes": [
            [str(size.size), size.num_params, _short(size.flops_per_token)] for size in sizes
        ],
        "runs": [[round(x, 2), round(y, 2), budget, words] for x, y, budget, words in points],
    }
    written = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return Html(f'<script type="application/json" id="numbers">{_harmless(written)}</script>')


def controls(optimum: Optimum, along: Frontier, *, counted: bool) -> Html:
    """Slider and field for the compute, and an empty answer; hidden without a script.

    counted: whether FLOPs per token are counted on sizes of the task, as for an answer with a size.
    """
    low, high = format_flops(float(along.flops[0])), format_flops(float(along.flops[-1]))
    field = tag(
        "label", "FLOPs of the run", _input(id="target", type="text", inputmode="decimal",
        autocomplete="off", spellcheck="false", value=format_flops(optimum.flops),
        aria_describedby="target-range"),
    )  # fmt: skip
    slider = _input(
        id="slider", type="range", min="0", max="1000", step="1", aria_label="FLOPs of the run"
    )
    back = tag("button", f"Back to {format_flops(optimum.flops)}", type="button", id="back")
    plain = (
        ""
        if optimum.serving is None and optimum.repetition is None
        else ", with nothing served or repeated"
    )
    costs = (
        ""
        if counted or optimum.size is None
        else "; a token costs what the runs record, not what is counted"
    )
    within = tag(
        "p",
        f"From {low} to {high}, by the same law{plain}{costs}.",
        id="target-range",
        class_="after",
    )
    results = tag(
        "div",
        tag("dl", class_="estimates", id="what-if-answer"),
        tag("p", id="what-if-more"),
        aria_live="polite",
    )
    return tag(
        "div",
        tag("div", field, slider, back, class_="what-if"),
        within,
        results,
        id="what-if",
        class_="screen",
        hidden=True,
    )


def budget_switches(valleys: Sequence[Valley]) -> Html:
    """One switch per budget, which shows and hides its runs and curve; hidden without a script."""
    switches = [
        tag(
            "label", _input(type="checkbox", checked=True, data_budget=str(number)),
            tag("span", class_="swatch", style=f"background: {themed(colour)}"),
            scientific(valley.budget),
        )
        for number, (valley, colour) in enumerate(zip(valleys, ramp(len(valleys)), strict=True))
    ]  # fmt: skip
    return tag(
        "fieldset",
        tag("legend", "Budgets"),
        *switches,
        class_="switches screen",
        id="switches",
        hidden=True,
    )


def _input(**attributes: str | bool) -> Html:
    return Html(tag("input", **attributes).removesuffix("</input>"))


def _harmless(written: str) -> str:
    """The text without characters that could close the script element."""
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(values: np.ndarray | None) -> list[list[float | None]] | None:
    return None if values is None else [_column(column) for column in values.T]


def _column(values: np.ndarray) -> list[float | None]:
    return [_short(float(value)) for value in values]


def _short(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
