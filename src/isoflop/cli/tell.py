"""isoflop tell: results of runs that another program trained, into a store."""

# Imported inside the command, as in cli/app.py: `isoflop --help` must answer at once.

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.families import is_table
from isoflop.cli.options import ColumnOption, Json
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.runs import Run
    from isoflop.storage.directory import DirectoryStore

__all__ = ["tell"]


def tell(
    store: Annotated[
        Path, typer.Argument(help="Folder of `isoflop plan --store`.", metavar="STORE")
    ],
    run: Annotated[
        str,
        typer.Argument(
            help="Id of a run of the plan, or a table with the columns id and loss.",
            metavar="ID|TABLE",
        ),
    ],
    loss: Annotated[
        str | None, typer.Option(help="Loss on held-out data; nan for a run that diverged.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Tokens trained, where they differ from the plan.")
    ] = None,
    flops: Annotated[str | None, typer.Option(help="FLOPs spent; else by the plan.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Another measure, as accuracy=.42; may be repeated.")
    ] = None,
    status: Annotated[str, typer.Option(help="completed, diverged or failed.")] = "completed",
    error: Annotated[str | None, typer.Option(help="Why a run did not complete.")] = None,
    column: ColumnOption = None,
    any_tokens: Annotated[
        bool,
        typer.Option("--any-tokens", help="Record tokens that are more than 2 % off the plan."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Replace an earlier record with another loss.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Record the result of a run, or of a table of runs, that another program trained."""
    from isoflop.cli.stores import open_store
    from isoflop.reporting.json_output import run_values, to_json

    folder = open_store(store)
    is_failure = status != "completed"
    of_one = {"loss": loss, "tokens": tokens, "flops": flops, "metric": metric, "error": error}
    if is_table(run):
        _refuse({**of_one, "status": is_failure}, "a result for the id of one run, not for a table")
        told = _told_table(folder, run, column, any_tokens=any_tokens, again=again)
    else:
        _refuse({"column": column}, "a name of a table's column, not for the id of a run")
        told = [
            folder.tell(
                run,
                loss=_number(loss, "--loss"),
                num_tokens=_number(tokens, "--tokens"),
                flops=_number(flops, "--flops"),
                metrics=_metrics(metric),
                status=status,  # type: ignore[arg-type]  # checked by tell
                error=error,
                any_tokens=any_tokens,
                again=again,
            )
        ]
    typer.echo(
        to_json([run_values(one) for one in told]) if as_json else "\n".join(map(repr, told))
    )


def _refuse(options: Mapping[str, object], meant: str) -> None:
    """Raise DataError for an option that would be ignored."""
    for name, value in options.items():
        if value:
            raise DataError(f"tell: --{name} gives {meant}; leave it out.")


def _told_table(
    store: "DirectoryStore",
    table: str,
    column: Sequence[str] | None,
    *,
    any_tokens: bool,
    again: bool,
) -> "list[Run]":
    """Tell every run of a table that has a loss; nothing is recorded if one is refused.

    Raises DataError where no row has a loss.
    """
    from isoflop.cli.arguments import columns_of
    from isoflop.display.format import format_items
    from isoflop.storage.tables import read_runs

    planned = [spec for specs, _ in store.read_stages().values() for spec in specs]
    rows = read_runs(table, columns=columns_of(column or ()), specs=planned)
    runs = [run for run in rows if run.status != "completed" or math.isfinite(run.loss)]
    if not runs:
        raise DataError("tell: a table must have the loss of one run at least, but none is there.")
    if len(runs) < len(rows):
        without = format_items(len(rows) - len(runs), "row")
        typer.echo(f"isoflop: {without} without a loss left out.", err=True)
    return store.tell_all(runs, any_tokens=any_tokens, again=again)


def _metrics(pairs: Sequence[str] | None) -> dict[str, float]:
    metrics = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        number = _number(value, f"--metric {name}") if equals else None
        if number is None:
            raise DataError(f"--metric must be name=number, but got {pair!r}.")
        metrics[name.strip()] = number
    return metrics


def _number(text: str | None, name: str) -> float | None:
    from isoflop import arguments

    if text is None:
        return None
    if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):  # of a run that diverged
        return float(text)
    return float(arguments.number(text, name, must="a number", holds=lambda one: True))
