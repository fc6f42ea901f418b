"""report(): one self-contained HTML page, the answer first."""

import os
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from isoflop import text
from isoflop.fitting.fit import Fit
from isoflop.optimum import Optimum
from isoflop.reporting import sections
from isoflop.reporting.figures import isoflop_curves, optimum_law, valleys_of
from isoflop.reporting.html import Html, join, tag
from isoflop.reporting.method import method
from isoflop.reporting.svg import dark_colours, inline_svg
from isoflop.storage.atomic import write_text

__all__ = ["render", "report"]

_CURVES = (
    "Each colour is one compute budget: points are runs, lines the curve fitted near the lowest loss. A filled mark is "
    "a minimum between measured sizes; a hollow one is not bracketed. The dashed line is the law's optimum."
)
_LAW = (
    "The best number of params and tokens for a given compute, with its {level} interval. The shaded range holds the "
    "runs, the large marks are the answer{minima}."
)


def report(fit: Fit, optimum: Optimum, *, path: str | os.PathLike[str]) -> Path:
    """Write the answer, its doubt, figures, runs and method as one HTML file that needs no network; gives its path.

    Raises StoreError where the file cannot be written.
    """
    return write_text(path, render(fit, optimum))


def render(fit: Fit, optimum: Optimum) -> str:
    """The page as text."""
    found = valleys_of(fit)
    body = tag(
        "main",
        sections.answer(optimum),
        sections.reasons(fit, optimum, found),
        sections.section("Figures", *_figures(fit, optimum, bool(found))),
        *([sections.budgets(found)] if found else []),
        sections.runs(fit),
        method(fit, optimum),
    )
    return "<!doctype html>\n" + tag(
        "html", _head(optimum, len(found)), tag("body", body, _footer(), tag("script", _own("page.js"))), lang="en"
    )


def _figures(fit: Fit, optimum: Optimum, has_budgets: bool) -> list[Html]:
    law = inline_svg(optimum_law(fit, optimum), "law", _law_in_words(optimum))
    minima = ", diamonds the minima of single budgets" * has_budgets
    drawn = [sections.figure(law, _LAW.format(level=text.percent(optimum.level), minima=minima))]
    if has_budgets:
        curves = inline_svg(
            isoflop_curves(fit), "curves", "IsoFLOP curves: loss against params for each compute budget"
        )
        drawn.insert(0, sections.figure(curves, _CURVES))
    return drawn


def _law_in_words(optimum: Optimum) -> str:
    params, tokens = text.count(optimum.num_params.value), text.count(optimum.num_tokens.value)
    return f"Best params and tokens against compute; {params} and {tokens} at {text.flops(optimum.flops)} FLOPs"


def _head(optimum: Optimum, num_budgets: int) -> Html:
    params, tokens = text.count(optimum.num_params.value), text.count(optimum.num_tokens.value)
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark_colours(num_budgets)} }} }}"
    return tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{text.flops(optimum.flops)} FLOPs: {params} params, {tokens} {optimum.unit}s"),
        tag("style", _own("page.css"), Html(dark)),
    )


def _footer() -> Html:
    return tag("footer", f"Written by isoflop {version('isoflop')}. The page is one file and needs no network.")


def _own(name: str) -> Html:
    """A file that lies beside this one."""
    return join(Html((files("isoflop.reporting") / name).read_text(encoding="utf-8")))
