"""report(): one self-contained HTML page, the answer first."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from isoflop import arguments
from isoflop.answers.by_approach import answers_by_approach
from isoflop.answers.frontier import Frontier, cost_of_sizes, frontier, sizes_between
from isoflop.answers.predict import Optimum
from isoflop.counting.sizes import SizeCount
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count, format_flops
from isoflop.display.html import Html, join, tag
from isoflop.errors import StoreError
from isoflop.family import Family
from isoflop.fitting.fit import Fit
from isoflop.reporting import page_figures, sections, what_if
from isoflop.reporting.figures.curves import valleys_of
from isoflop.reporting.reproduction import method
from isoflop.reporting.svg import dark_colours, own_style
from isoflop.storage.atomic import write_text
from isoflop.task import Task

__all__ = ["document", "render", "report"]


def report(
    fit: Fit, optimum: Optimum, *, path: str | os.PathLike[str], task: Task | Family | None = None
) -> Path:
    """Write answer, notes, figures, runs and method as one HTML file, and return its path.

    fit, optimum: What `fit` gives, and one answer of `predict` to it.
    path: The file, replaced where it exists.

    The file needs no network. The page answers for other computes too. With `task` those answers
    come in sizes that can be built, under the FLOPs counted on them, as in `predict(task=)`.

    Raises StoreError where the file cannot be written.
    """
    if not isinstance(fit, Fit):
        raise arguments.refused(fit, "report: fit", "what isoflop.fit(runs) gives")
    if not isinstance(optimum, Optimum):
        raise arguments.refused(
            optimum, "report: optimum", "one answer of isoflop.predict(fit, ...)"
        )
    if task is not None:
        sizes_of(task, "report: task")
    path = arguments.a_path(path, "report: path", error=StoreError)
    return write_text(path, render(fit, optimum, task=task))


@own_style()
def render(
    fit: Fit, optimum: Optimum, *, task: Task | Family | None = None, before: Sequence[Html] = ()
) -> str:
    """The page as text; `before` precedes the answer and makes browsers reload the page."""
    each = valleys_of(fit)
    known = _OtherComputes.of(fit, optimum, task)
    approaches = answers_by_approach(fit, optimum)
    curves, points = page_figures.curves(fit, each)
    body = (
        *before,
        sections.answer(optimum),
        sections.reasons(fit, optimum, each, approaches),
        sections.section("IsoFLOP curves", curves) if each else Html(""),
        sections.section(
            "Another compute",
            what_if.controls(optimum, known.along, counted=bool(known.sizes)),
            *page_figures.laws(fit, optimum, known.along, bool(each)),
        ),
        sections.budgets(each) if each else Html(""),
        sections.section("Doubt", *page_figures.doubt(fit, optimum, known.along, approaches)),
        sections.runs(fit),
        method(fit, optimum, None if task is None else sizes_of(task).start()),
    )
    params, tokens = format_count(optimum.num_params.value), format_count(optimum.num_tokens.value)
    return document(
        f"{format_flops(optimum.flops)} FLOPs: {params} params, {tokens} {optimum.unit}s",
        body,
        num_budgets=len(each),
        data=what_if.numbers(fit, optimum, known.along, known.sizes, points),
        under_way=bool(before),
    )


def document(
    title: str,
    body: Sequence[Html],
    *,
    num_budgets: int = 0,
    data: Html | None = None,
    under_way: bool = False,
) -> str:
    """A whole page around its sections; `data` feeds the script that answers for other computes."""
    scripts = (
        [tag("script", _own("page.js"))]
        + [data or Html("")]
        + [tag("script", _own("what_if.js"))] * bool(data)
    )
    return "<!doctype html>\n" + tag(
        "html",
        _head(title, num_budgets, under_way),
        tag("body", tag("main", *body), _footer(), *scripts),
        lang="en",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _OtherComputes:
    """The page's answers for other computes."""

    along: Frontier
    sizes: list[SizeCount]

    @classmethod
    def of(cls, fit: Fit, optimum: Optimum, task: Task | Family | None) -> "_OtherComputes":
        flops = what_if.reachable(fit, optimum)
        if task is None:
            return cls(along=frontier(fit, flops), sizes=[])
        rough = frontier(fit, flops[[0, -1]]).num_params[:, 0]
        sizes = sizes_between(sizes_of(task), float(rough.min()), float(rough.max()))
        return cls(along=frontier(fit, flops, cost_of_sizes(sizes)), sizes=sizes)


_REFRESH = Html('<meta http-equiv="refresh" content="20">')
"""Reloads the page of a sweep under way every 20 seconds."""


def _head(title: str, num_budgets: int, under_way: bool) -> Html:
    colours = dark_colours(num_budgets)
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {colours} }} }}"
    return tag(
        "head",
        Html(
            '<meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
        ),
        _REFRESH if under_way else Html(""),
        tag("title", title),
        tag("style", _own("page.css"), Html(dark)),
    )


def _footer() -> Html:
    return tag(
        "footer",
        f"Written by isoflop {version('isoflop')}. The page is one file and needs no network.",
    )


def _own(name: str) -> Html:
    """Content of a file in this folder."""
    return join(Html((files("isoflop.reporting") / name).read_text(encoding="utf-8")))
