"""Tables of simulated worlds: a row for each world and approach, both distances in a cell."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from fixed_worlds import DISTANCES
from tables import markdown

from isoflop.display.format import format_percent

REFERENCE = "Parametric()"
LEGEND = (
    "Each cell gives 10x and then 100x beyond. `interval` is the median half-width of 90 % "
    f"intervals of N, `over {REFERENCE}` its log over that approach's, `N error` the median, "
    "`covered` the share of intervals that hold the truth, `loss bias` the median of predicted "
    "over true loss minus 1, `noted` the share of fits with a note that speaks against the law, "
    "`waste` the mean share of compute that is said to be lost, and that is."
)
HEAD = [
    "world",
    "approach",
    "N interval",
    f"over {REFERENCE}",
    "N error",
    "N covered",
    "loss covered",
    "loss bias",
    "noted",
    "waste told",
    "waste real",
]


def table(found: Mapping[str, Mapping[str, Sequence[Any]]]) -> str:
    """World -> approach -> outcomes, None where refused."""
    rows = []
    for world, by_approach in found.items():
        reference = [one for one in by_approach[REFERENCE] if one is not None]
        for approach, outcomes in by_approach.items():
            answered = [one for one in outcomes if one is not None]
            refused = len(outcomes) - len(answered)
            label = f"{approach} ({refused} refused)" if refused else approach
            shown = _row(answered, reference) if answered else []
            rows.append([world, label, *shown])
    return markdown(HEAD, rows)


def _row(outcomes: Sequence[Any], reference: Sequence[Any]) -> list[str]:
    def half(part: Sequence[Any], each: int) -> float:
        return float(np.median([one.N[each].half_width for one in part]))

    def mean(value: Callable[[Any, int], float]) -> Callable[[int], float]:
        return lambda each: float(np.mean([value(one, each) for one in outcomes]))

    def ratio(each: int) -> str:
        return f"{half(outcomes, each) / half(reference, each):.1f}" if reference else "-"

    covered = mean(lambda one, each: one.N[each].is_covered())
    loss_covered = mean(lambda one, each: one.loss[each].is_covered())
    told = mean(lambda one, each: one.told[each])
    real = mean(lambda one, each: one.real[each])
    return [
        _both(lambda each: f"x/÷{math.exp(half(outcomes, each)):.3g}"),
        _both(ratio),
        _both(lambda each: format_percent(np.median([abs(one.N[each].error) for one in outcomes]))),
        _both(lambda each: f"{covered(each):.2f}"),
        _both(lambda each: f"{loss_covered(each):.2f}"),
        _both(lambda each: f"{100 * np.median([one.loss[each].error for one in outcomes]):+.2f} %"),
        f"{np.mean([one.is_noted for one in outcomes]):.2f}",
        _both(lambda each: format_percent(told(each))),
        _both(lambda each: format_percent(real(each))),
    ]


def _both(shown: Callable[[int], str]) -> str:
    return ", ".join(shown(each) for each in DISTANCES)
