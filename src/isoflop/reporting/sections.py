"""The sections of the page: HTML of a fit and its answer."""

import base64
import math
from collections.abc import Callable, Sequence

from isoflop.answers.by_approach import ApproachAnswer, disagreements
from isoflop.answers.predict import Estimate, Optimum
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_items,
    format_number,
    format_percent,
)
from isoflop.display.html import Html, join, tag
from isoflop.fitting.approaches.isoflop import Valley
from isoflop.fitting.fit import Fit, SetAside
from isoflop.reporting.tables import Column, Table, runs_table, to_csv, valleys_table
from isoflop.runs import Run

__all__ = ["answer", "budgets", "figure", "reasons", "runs", "runs_of", "section"]

MANY_ROWS = 1000
"""Rows of the runs' table; further ones are only counted."""

VERY_MANY_ROWS = 5000
"""Rows up to which the page carries all runs as CSV: about half a megabyte."""

WELL_PREDICTED = 0.15
"""Relative error of params at held-out budgets up to which they support the law: it costs less than
1 % of the compute."""

NEAR = 1.5
"""Factor on the largest run up to which a target counts as near."""


def section(title: str, *content: str) -> Html:
    """A part of the page under a heading of its own."""
    name = title.lower().replace(" ", "-")
    return tag("section", tag("h2", title, id=name), tag("div", *content), aria_labelledby=name)


def answer(optimum: Optimum) -> Html:
    """The recommendation as a sentence, its numbers with intervals, and the cost of being wrong."""
    return tag(
        "header",
        tag("p", _question(optimum), class_="eyebrow"),
        tag("h1", *_headline(optimum)),
        tag("dl", *_estimates(optimum), class_="estimates"),
        tag("p", *_consequences(optimum), class_="lede"),
        class_="answer",
    )


def reasons(
    fit: Fit, optimum: Optimum, valleys: Sequence[Valley], approaches: Sequence[ApproachAnswer] = ()
) -> Html:
    """Reasons for the answer and against it, side by side; approaches: the answer of each."""
    check, holds = _checked(fit)
    against = (*check * (not holds), *optimum.notes, *disagreements(approaches))
    if not against:
        against = ("None of isoflop's checks speaks against it.",)
    return section(
        "Why believe it, why not",
        tag(
            "div",
            tag(
                "div",
                tag("h3", "For it"),
                tag(
                    "ul",
                    *[
                        tag("li", word)
                        for word in (*check * holds, *_grounds(fit, optimum, valleys))
                    ],
                ),
            ),
            tag(
                "div",
                tag("h3", "Against it"),
                tag("ul", *[tag("li", word) for word in against]),
                class_="against",
            ),
            class_="reasons",
        ),
    )


def figure(drawing: Html, caption: str, *controls: Html) -> Html:
    """A figure with its caption, and controls above it; on a narrow screen it scrolls."""
    scroll = tag(
        "div",
        drawing,
        class_="scroll",
        tabindex="0",
        role="group",
        aria_label="Figure, scrolls sideways",
    )
    return tag("figure", *controls, scroll, tag("figcaption", caption))


def budgets(valleys: Sequence[Valley]) -> Html:
    """The table of the budgets' minima."""
    why = [tag("p", valley.reason, class_="after") for valley in valleys if not valley.interior]
    return section(
        "Budgets", _table(valleys_table(valleys), "Minimum of each budget", sortable=False), *why
    )


def runs(fit: Fit) -> Html:
    """The table of all runs, used and set aside."""
    return runs_of(fit.runs, fit.set_aside)


def runs_of(used: Sequence[Run], set_aside: Sequence[SetAside] = ()) -> Html:
    """The table of runs; it needs no fit."""
    table = runs_table(used, set_aside)
    shown = Table(table.columns, table.rows[:MANY_ROWS])
    left_out = len(table.rows) - len(shown.rows)
    verb = "is" if left_out == 1 else "are"
    after = [f"{format_items(left_out, 'more run')} {verb} not shown. "] * bool(left_out)
    after += [_download(table)] * (len(table.rows) <= VERY_MANY_ROWS)
    return section(
        "Runs", _table(shown, "Runs of the sweep", sortable=True), tag("p", *after, class_="after")
    )


def _download(table: Table) -> Html:
    """A link to the unrounded values, embedded in the page; `read_runs` reads the file back."""
    data = base64.b64encode(to_csv(table).encode()).decode()
    return tag(
        "a",
        "All runs as CSV",
        href=f"data:text/csv;base64,{data}",
        download="runs.csv",
        class_="screen",
    )


def _question(optimum: Optimum) -> Html:
    """The question, as a phrase."""
    limit = (
        ""
        if optimum.repetition is None
        else f", from {format_count(optimum.repetition.unique_tokens)} distinct ones"
    )
    if (serving := optimum.serving) is None:
        return join("Compute-optimal training with ", _power(optimum.flops), " FLOPs", limit)
    served = f"{format_count(serving.tokens)} {optimum.unit}s"
    return join(
        f"Training and serving {served} with ", _power(serving.total.value), " FLOPs in all", limit
    )


def _headline(optimum: Optimum) -> list[str]:
    params, tokens = format_count(optimum.num_params.value), format_count(optimum.num_tokens.value)
    if optimum.size is None or optimum.size_num_params is None:
        return [
            "Train ",
            tag("b", f"{params} params"),
            " on ",
            tag("b", f"{tokens} {optimum.unit}s"),
            ".",
        ]
    real = format_count(optimum.size_num_params)
    tokens = format_count(optimum.size_num_tokens or optimum.num_tokens.value)
    return [
        "Train size ",
        tag("b", str(optimum.size)),
        f", {real} params, on ",
        tag("b", f"{tokens} {optimum.unit}s"),
        ".",
    ]


def _estimates(optimum: Optimum) -> list[Html]:
    def loss(value: float) -> str:
        return format_number(value, 4)

    level, needed = optimum.level, optimum.flops_needed
    return [
        *([_estimate("FLOPs", needed, format_flops, level)] if needed else []),
        _estimate("Params", optimum.num_params, format_count, level),
        _estimate(f"{optimum.unit.capitalize()}s", optimum.num_tokens, format_count, level),
        *(
            [_estimate("Epochs", optimum.repetition.epochs, format_number, level)]
            if optimum.repetition
            else []
        ),
        *([_estimate(_loss_name(optimum), optimum.loss, loss, level)] if optimum.loss else []),
        *(
            [_estimate("Bits per byte", optimum.bits_per_byte, loss, level)]
            if optimum.bits_per_byte
            else []
        ),
        *(
            _estimate(name, metric, format_number, level)
            for name, metric in optimum.metrics.items()
        ),
    ]


def _loss_name(optimum: Optimum) -> str:
    return "Loss" if optimum.loss_unit is None else f"Loss, {optimum.loss_unit}"


def _estimate(name: str, estimate: Estimate, write: Callable[[float], str], level: float) -> Html:
    ends = join(
        format_interval(estimate.low, estimate.high, write), f", {format_percent(level)} interval"
    )
    value, range_ = (
        tag("dd", write(estimate.value), class_="value"),
        tag("dd", ends, class_="range"),
    )
    return tag("div", tag("dt", name), value, range_)


def _consequences(optimum: Optimum) -> list[str]:
    words: list[str] = []
    if (serving := optimum.serving) is not None:
        words.append(
            f"It trains {format_number(serving.overtraining.value)} times the tokens per param of "
            f"the compute-optimal run of the same loss, for "
            f"{format_percent(serving.extra_training.value)} more compute, and saves "
            f"{format_percent(serving.saved.value)} of that of training and serving together. "
        )
    if optimum.band is not None:
        words.append(
            f"Any size from {format_interval(*optimum.band)} params costs at most 1 % more compute "
            f"for the same loss. "
        )
    if math.isfinite(optimum.regret.value):
        words.append(
            f"Doubt about the optimum is expected to waste {_share(optimum.regret.value)} of the "
            f"compute. "
        )
    if optimum.extrapolation > 0:
        words.append(
            f"The target lies {format_number(10**optimum.extrapolation, 2)} times beyond the "
            f"largest run."
        )
    elif optimum.extrapolation < 0:
        words.append(
            f"The target lies {format_number(10**-optimum.extrapolation, 2)} times below the "
            f"smallest run."
        )
    else:
        words.append("The target lies within the compute of the runs.")
    return words


def _share(value: float) -> str:
    return format_percent(value) if value >= 1e-4 else "less than 0.01 %"


def _grounds(fit: Fit, optimum: Optimum, valleys: Sequence[Valley]) -> list[str]:
    spent = [run.flops for run in fit.runs]
    verb = "was" if len(fit.set_aside) == 1 else "were"
    aside = f", {len(fit.set_aside)} more {verb} set aside" if fit.set_aside else ""
    grounds = [
        f"{len(fit.runs)} runs from {format_interval(min(spent), max(spent), format_flops)} "
        f"FLOPs{aside}."
    ]
    inside = sum(valley.interior for valley in valleys)
    if inside:
        grounds.append(
            f"The lowest loss lies between measured sizes in {inside} of {len(valleys)} budgets."
        )
    if (
        fit.diagnostics.converged
        and fit.diagnostics.agreement == 1
        and not fit.diagnostics.at_bound
    ):
        grounds.append("The fit converged, with no parameter at a bound.")
    if 1 / NEAR <= 10**optimum.extrapolation <= NEAR:
        grounds.append("The target is no further than the runs themselves.")
    return grounds


def _checked(fit: Fit) -> tuple[tuple[str, ...], bool]:
    """How well the smaller budgets predict the held-out ones, and whether that supports the law."""
    errors = (
        [held.num_params for held in fit.holdout.budgets if math.isfinite(held.num_params)]
        if fit.holdout
        else []
    )
    if not errors:
        return (), False
    return (f"Predicted from the smaller budgets alone, {fit.holdout}.",), max(
        map(abs, errors)
    ) <= WELL_PREDICTED


def _table(table: Table, caption: str, *, sortable: bool) -> Html:
    heads = [_heading(column, sortable) for column in table.columns]
    rows = [
        tag("tr", *[_cell(*parts) for parts in zip(table.columns, cells, values, strict=True)])
        for cells, values in zip(table.cells(), table.rows, strict=True)
    ]
    body = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), aria_label=caption)
    return tag("div", body, class_="table", tabindex="0", role="region", aria_label=caption)


def _heading(column: Column, sortable: bool) -> Html:
    label = tag("button", column.heading, type="button") if sortable else column.heading
    return tag("th", label, scope="col", class_="number" if column.is_number else None)


def _cell(column: Column, written: str, value: object) -> Html:
    kind = "number" if column.is_number else "long" if len(written) > 40 else None
    return tag("td", written, class_=kind, data_value="" if value is None else str(value))


def _power(value: float) -> Html:
    """FLOPs as 5.76 × 10²³."""
    factor, power = format_flops(value).split("e")
    raised = join("10", tag("sup", str(int(power))))
    return tag("span", raised if factor == "1" else join(f"{factor} × ", raised), class_="nowrap")
