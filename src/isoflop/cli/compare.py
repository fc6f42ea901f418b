"""isoflop compare and holdout: two sweeps against each other, and small budgets against large ones."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once.

import math
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from isoflop.cli.arguments import approach_of, columns_of
from isoflop.cli.options import Approach, Column, Json, Level, SourceArgument

if TYPE_CHECKING:
    from isoflop.fitting.holdout import Holdout

__all__ = ["compare", "holdout"]


def compare(
    first: Annotated[
        str, typer.Argument(help="Store folder or table of one system.", metavar="FIRST")
    ],
    second: Annotated[
        str, typer.Argument(help="Store folder or table of the other.", metavar="SECOND")
    ],
    target: Annotated[
        str, typer.Option(help="FLOPs at which the two are compared, as for `isoflop plan`.")
    ],
    approach: Approach = None,
    level: Level = "0.9",
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Compare two systems at one compute: best size, tokens, loss and compute-equivalent gain of the second.

    Both must report the loss on the same held-out data.
    """
    from isoflop.compute.budget import flops_of
    from isoflop.fitting.compare import compare as compare_runs
    from isoflop.reporting.json_output import to_json
    from isoflop.storage.tables import read_runs

    columns = columns_of(column or ())
    runs = [read_runs(source, columns=columns) for source in (first, second)]
    found = compare_runs(
        *runs, flops=flops_of(target), approach=approach_of(approach), level=cast(Any, level)
    )
    typer.echo(to_json(found) if as_json else found)


def holdout(
    runs: SourceArgument,
    budgets: Annotated[
        int, typer.Option(help="How many of the largest budgets are held out.", min=1)
    ] = 1,
    approach: Approach = None,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Predict the largest budgets from the smaller ones, and show how far off that is."""
    from isoflop.fitting.holdout import holdout as hold_out
    from isoflop.reporting.json_output import to_json
    from isoflop.storage.tables import read_runs

    found = hold_out(
        read_runs(runs, columns=columns_of(column or ())), approach_of(approach), budgets=budgets
    )
    typer.echo(to_json(found) if as_json else holdout_table(found))


def holdout_table(found: "Holdout") -> str:
    """One line for each budget held out; blank where it has no minimum of its own to compare with."""
    from isoflop.display.format import align_columns, format_flops, format_number

    def cell(error: float) -> str:
        return f"{100 * error:+.2g} %" if math.isfinite(error) else ""

    rows: list[tuple[Any, ...]] = [("budget", "beyond the rest", "params", "tokens", "loss")]
    for held in found.budgets:
        beyond = f"{format_number(held.budget / found.largest_used, 2)}x"
        errors = (held.num_params, held.num_tokens, held.loss)
        rows.append((format_flops(held.budget), beyond, *map(cell, errors)))
    return "Prediction against measurement\n" + align_columns(rows, "  ")
