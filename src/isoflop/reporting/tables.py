"""Runs, sweeps, valleys and optima as tables: made once, shown as text, Markdown, LaTeX, HTML or a data frame."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from isoflop import text
from isoflop.fitting.fit import SetAside
from isoflop.fitting.isoflop import Valley
from isoflop.optimum import Estimate, Optimum
from isoflop.reporting.table import Column, Table
from isoflop.reporting.written import to_csv, to_frame, to_html, to_latex, to_markdown, to_rich, to_text
from isoflop.runs import Run, RunSpec

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
    """One row for each run, with the columns that at least one run fills; `read_runs` reads its data frame back.

    Runs that were set aside come last, with the reason.
    """
    rows = [*((run, run.error) for run in runs), *((aside.run, aside.reason) for aside in set_aside)]
    return _filled(
        (
            Column("run", "run", str, is_number=False),
            Column("size", "size", str),
            Column("params", "params", text.count),
            Column("tokens", "tokens", text.count),
            Column("FLOPs", "flops", text.flops),
            Column("budget", "compute_budget", text.flops),
            Column("loss", "loss", _loss),
            Column("± se", "loss_stderr", _two_digits),
            Column("status", "status", str, is_number=False),
            Column("set aside because", "reason", str, is_number=False),
        ),
        [_run_row(run, reason) for run, reason in rows],
    )


def specs_table(specs: Iterable[RunSpec]) -> Table:
    """One row for each run that a sweep asks for, with the columns that at least one spec fills."""
    return _filled(
        (
            Column("budget", "compute_budget", text.flops),
            Column("size", "size", str),
            Column("params", "params", text.count),
            Column("tokens", "tokens", text.count),
            Column("FLOPs", "flops", text.flops),
            Column("tokens/param", "tokens_per_param", _two_digits),
            Column("batch", "batch", str),
            Column("lr", "lr", _two_digits),
            Column("epochs", "epochs", _two_digits),
            Column("seed", "seed", str),
        ),
        [_spec_row(spec) for spec in specs],
    )


def valleys_table(valleys: Iterable[Valley]) -> Table:
    """One row for each budget: where its lowest loss lies, and whether runs stand on both sides of it."""
    return Table(
        (
            Column("budget", "compute_budget", text.flops),
            Column("runs", "num_runs", str),
            Column("sizes", "sizes", lambda ends: text.interval(*ends), is_number=False),
            Column("best params", "params", text.count),
            Column("best tokens", "tokens", text.count),
            Column("tokens/param", "tokens_per_param", _two_digits),
            Column("lowest loss", "loss", _loss),
            Column("minimum", "interior", lambda inside: "bracketed" if inside else "not bracketed", is_number=False),
        ),
        tuple(_valley_row(valley) for valley in valleys),
    )


def optima_table(optima: Iterable[Optimum]) -> Table:
    """One row for each compute, the paper's compute-optimal table: params, tokens and loss with their intervals."""
    optima = list(optima)
    level = text.percent(optima[0].level) if optima else ""
    return _filled(
        (
            Column("FLOPs", "flops", text.flops),
            Column("params", "params", text.count),
            Column(level, "params_interval", _interval, is_number=False),
            Column("tokens", "tokens", text.count),
            Column(level, "tokens_interval", _interval, is_number=False),
            Column("loss", "loss", _loss),
            Column(level, "loss_interval", lambda ends: text.interval(ends[0], ends[1], _loss), is_number=False),
            Column("size", "size", str),
        ),
        [_optimum_row(optimum) for optimum in optima],
    )


def _run_row(run: Run, reason: str | None) -> tuple[Any, ...]:
    spent = (run.num_params, run.num_tokens, run.flops, run.budget)
    status = None if run.status == "completed" else run.status
    return (run.group, run.size, *spent, run.loss, run.loss_stderr, status, reason)


def _spec_row(spec: RunSpec) -> tuple[Any, ...]:
    spent = (spec.num_params, spec.num_tokens, spec.flops, spec.num_tokens / spec.num_params)
    return (spec.budget, spec.size, *spent, spec.batch, spec.lr, spec.epochs, spec.seed)


def _valley_row(valley: Valley) -> tuple[Any, ...]:
    sizes = (valley.runs[0].num_params, valley.runs[-1].num_params)
    found = (valley.num_params, valley.num_tokens, valley.num_tokens / valley.num_params, valley.loss)
    shown = found if valley.interior else (None,) * 4  # a minimum that no runs bracket is a guess
    return (valley.budget, len(valley.runs), sizes, *shown, valley.interior)


def _optimum_row(optimum: Optimum) -> tuple[Any, ...]:
    estimates = (optimum.num_params, optimum.num_tokens, optimum.loss)
    numbers = [part for estimate in estimates for part in _value_and_ends(estimate)]
    return (optimum.flops, *numbers, optimum.size)


def _value_and_ends(estimate: Estimate | None) -> tuple[float | None, tuple[float, float] | None]:
    return (None, None) if estimate is None else (estimate.value, (estimate.low, estimate.high))


def _filled(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> Table:
    """The table without the columns that no row fills."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return Table(tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


def _loss(value: float) -> str:
    """Three decimals, so that a column of losses lines up at the point."""
    if not math.isfinite(value):
        return "none"
    return f"{value:.3f}" if abs(value) >= 0.1 else text.number(value)


def _two_digits(value: float) -> str:
    return text.number(value, 2)


def _interval(ends: tuple[float, float]) -> str:
    return text.interval(*ends)
