"""Runs, sweeps, valleys and optima as tables, for text, Markdown, LaTeX, HTML and data frames."""

from collections.abc import Iterable, Sequence

from isoflop.answers.optimum_table import optima_table
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_loss,
    format_number,
)
from isoflop.display.rendering import to_html, to_rich
from isoflop.display.table import Column, Table
from isoflop.display.writers import to_csv, to_latex, to_markdown, to_text
from isoflop.fitting.approaches.isoflop import Valley
from isoflop.fitting.fit import SetAside
from isoflop.planning.sweep_table import specs_table
from isoflop.runs import Run
from isoflop.tabular import to_frame

__all__ = [
    "Column",
    "Table",
    "optima_table",
    "runs_table",
    "specs_table",
    "to_csv",
    "to_frame",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_rich",
    "to_text",
    "valleys_table",
]


def runs_table(runs: Iterable[Run], set_aside: Iterable[SetAside] = ()) -> Table:
    """One row for each run, with the columns that at least one run fills, metrics included.

    `read_runs` reads its data frame back. Runs set aside come last, with the reason.
    """
    rows = [
        *((run, run.error) for run in runs),
        *((aside.run, aside.reason) for aside in set_aside),
    ]
    metrics = list(dict.fromkeys(name for run, _ in rows for name in run.metrics))
    return Table.filled(
        (
            Column("run", "run", str, is_number=False),
            Column("size", "size", str),
            Column("params", "params", format_count),
            Column("tokens", "tokens", format_count),
            Column("FLOPs", "flops", format_flops),
            Column("budget", "compute_budget", format_flops),
            Column("loss", "loss", format_loss),
            Column("± se", "loss_stderr", _two_digits),
            *(Column(name, name, _three_digits) for name in metrics),
            Column("status", "status", str, is_number=False),
            Column("set aside because", "reason", str, is_number=False),
        ),
        [_run_row(run, reason, metrics) for run, reason in rows],
    )


def valleys_table(valleys: Iterable[Valley]) -> Table:
    """One row for each budget: its lowest loss, and whether runs bracket it."""
    return Table(
        (
            Column("budget", "compute_budget", format_flops),
            Column("runs", "num_runs", str),
            Column(
                "sizes",
                ("smallest_params", "largest_params"),
                lambda ends: format_interval(*ends),
                is_number=False,
            ),
            Column("best params", "params", format_count),
            Column("best tokens", "tokens", format_count),
            Column("tokens/param", "tokens_per_param", _two_digits),
            Column("lowest loss", "loss", format_loss),
            Column(
                "minimum",
                "interior",
                lambda inside: "bracketed" if inside else "not bracketed",
                is_number=False,
            ),
        ),
        tuple(_valley_row(valley) for valley in valleys),
    )


def _run_row(run: Run, reason: str | None, metrics: Sequence[str]) -> tuple[object, ...]:
    spent = (run.num_params, run.num_tokens, run.flops, run.budget)
    status = None if run.status == "completed" else run.status
    measured = (run.metrics.get(name) for name in metrics)
    return (run.group, run.size, *spent, run.loss, run.loss_stderr, *measured, status, reason)


def _valley_row(valley: Valley) -> tuple[object, ...]:
    sizes = (valley.runs[0].num_params, valley.runs[-1].num_params)
    minimum = (
        valley.num_params,
        valley.num_tokens,
        valley.num_tokens / valley.num_params,
        valley.loss,
    )
    shown = minimum if valley.interior else (None,) * 4  # a minimum that no runs bracket is a guess
    return (valley.budget, len(valley.runs), sizes, *shown, valley.interior)


def _three_digits(value: float) -> str:
    return format_number(value)


def _two_digits(value: float) -> str:
    return format_number(value, 2)
