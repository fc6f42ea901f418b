"""The figures of the page, each with its caption."""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes

from isoflop.answers.by_approach import ApproachAnswer
from isoflop.answers.frontier import Frontier
from isoflop.answers.predict import Optimum
from isoflop.display.format import format_count, format_flops, format_number, format_percent
from isoflop.display.html import Html
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import Valley
from isoflop.fitting.fit import Fit
from isoflop.reporting import sections
from isoflop.reporting.figures.approaches import side_by_side
from isoflop.reporting.figures.collapse import collapse_plot
from isoflop.reporting.figures.curves import isoflop_curves
from isoflop.reporting.figures.law import loss_frontier, optimum_law
from isoflop.reporting.figures.residuals import residuals
from isoflop.reporting.figures.surface import loss_surface
from isoflop.reporting.figures.waste import regret_curve
from isoflop.reporting.svg import inline_svg, place
from isoflop.reporting.what_if import MOST_POINTS, budget_switches
from isoflop.runs import Run

__all__ = ["PlottedRuns", "curves", "doubt", "laws"]

PlottedRuns = list[tuple[float, float, int, str]]
"""Runs in the figure of the curves: x, y, number of the budget, description."""

_CURVES = (
    "Each colour is one compute budget: points are runs, lines the curve fitted near the lowest "
    "loss. A filled mark is a minimum between measured sizes; a hollow one is not bracketed. The "
    "dashed line is the law's optimum."
)
_LAW = (
    "The best number of params and tokens for a given compute, with its {level} interval. The "
    "shaded range holds the runs, the large marks are the answer{minima}."
)
_LOSS = (
    "The loss of the best model for a given compute, with its {level} interval; grey points are "
    "all runs."
)
_SIDES = (
    "The same question put to each approach. Points are the best params, lines their {level} "
    "intervals; the shaded range is the interval of the answer. The intervals of Approaches 1 to 3 "
    "take their law for true, so that they are too narrow where it is not."
)
_WASTE = (
    "What another size would waste of the compute: if the law is right (line), and expected over "
    "all the laws that the runs allow (dashed), half of which lie in the pale area. Sizes in the "
    "shaded range are as good as the best."
)
_RESIDUALS = (
    "How far each run's loss lies above or below the law. Half of the runs lie in the shaded "
    "range. A wave is misfit of the law; a budget that lies apart is a change between the runs."
)
_SURFACE = (
    "The loss that the law gives every size and number of tokens: grey lines are equal loss, faint "
    "diagonals equal compute, blue points the runs, the orange line the best size for each compute."
)
_COLLAPSE = (
    "Training curves, each in units of its own length and final loss, their median in black. "
    "Well-scaled runs fall on one line; a run that leaves it, and is not among the best of its "
    "budget, was badly tuned or disturbed. Runs that the fit sets aside are named."
)


def curves(fit: Fit, valleys: Sequence[Valley]) -> tuple[Html, PlottedRuns]:
    """The IsoFLOP curves with a switch for each budget, and the position of each run in them."""
    if not valleys:
        return Html(""), []
    ax = isoflop_curves(fit)
    drawn = inline_svg(ax, "curves", "IsoFLOP curves: loss against params for each compute budget")
    return sections.figure(drawn, _CURVES, budget_switches(valleys)), _points(ax, valleys)


def laws(fit: Fit, optimum: Optimum, along: Frontier, has_budgets: bool) -> list[Html]:
    """The optimum against compute, and its loss for approaches with a law for it."""
    level = format_percent(optimum.level)
    minima = ", diamonds the minima of single budgets" * has_budgets
    label, words = _optimum_label(optimum), _LAW.format(level=level, minima=minima)
    return _all(
        [
            ("law", lambda: optimum_law(fit, optimum, along=along), label, words),
            (
                "loss",
                lambda: loss_frontier(fit, optimum, along=along),
                "Loss against compute",
                _LOSS.format(level=level),
            ),
        ]
    )


def doubt(
    fit: Fit, optimum: Optimum, along: Frontier, approaches: Sequence[ApproachAnswer]
) -> list[Html]:
    """Answers of other approaches, the cost of other sizes, and how well the law fits the runs.

    approaches: The answer of each approach.
    """
    trained = [*fit.runs, *(aside.run for aside in fit.set_aside)]
    silent = [
        f"{one.name.partition(':')[0]} has no answer: {one.reason}"
        for one in approaches
        if one.optimum is None
    ]
    level, at = format_percent(optimum.level), format_flops(optimum.flops)
    waste = partial(regret_curve, fit, optimum.flops, cost=along.cost)
    plain = optimum.serving is None and optimum.repetition is None
    of_law = _WASTE if plain else f"{_WASTE} Nothing is served or repeated here."
    shown: list[tuple[str, Callable[[], Axes], str, str]] = [
        ("waste", waste, f"Compute wasted by each size at {at}", of_law),
        ("residuals", lambda: residuals(fit), "Loss of each run above the law's", _RESIDUALS),
        (
            "surface",
            lambda: loss_surface(fit, optimum, along=along),
            "Loss over params, tokens",
            _SURFACE,
        ),
        (
            "collapse",
            lambda: collapse_plot(trained),
            "Training curves in their own units",
            _COLLAPSE,
        ),
    ]
    sides = "Best params by each approach"
    words = " ".join([_SIDES.format(level=level), *silent])
    return _all([("sides", lambda: side_by_side(approaches), sides, words), *shown])


def _all(shown: Sequence[tuple[str, Callable[[], Axes], str, str]]) -> list[Html]:
    """The figures that these runs and this approach allow."""
    drawn = []
    for name, draw, label, words in shown:
        try:
            drawn.append(sections.figure(inline_svg(draw(), name, label), words))
        except DataError:  # no loss, no surface or no training curves: the figure would be empty
            continue
    return drawn


def _points(ax: Axes, valleys: Sequence[Valley]) -> PlottedRuns:
    runs = [(number, run) for number, valley in enumerate(valleys) for run in valley.runs]
    if len(runs) > MOST_POINTS:
        return []
    places = [(place(ax, run.num_params, run.loss), number, run) for number, run in runs]
    return [(*where, number, _describe(run)) for where, number, run in places if where is not None]


def _describe(run: Run) -> str:
    error = f" ± {format_number(run.loss_stderr, 2)}" if run.loss_stderr else ""
    parts = [
        *([f"run {run.group}"] if run.group else []),
        *([f"size {run.size}"] if run.size is not None else []),
        f"{format_count(run.num_params)} params",
        f"{format_count(run.num_tokens)} tokens",
        f"{format_flops(run.flops)} FLOPs",
        f"loss {format_number(run.loss, 4)}{error}",
    ]
    return ", ".join(parts)


def _optimum_label(optimum: Optimum) -> str:
    params, tokens = format_count(optimum.num_params.value), format_count(optimum.num_tokens.value)
    return (
        f"Best params and tokens against compute; {params} and {tokens} at "
        f"{format_flops(optimum.flops)} FLOPs"
    )
