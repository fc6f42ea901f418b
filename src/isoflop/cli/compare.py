"""isoflop compare and holdout: two sweeps compared, and large budgets predicted from small ones."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once.

import math
from typing import TYPE_CHECKING, Annotated, cast

import typer

from isoflop.cli.arguments import approach_of
from isoflop.cli.fit import reading_of
from isoflop.cli.options import (
    Approach,
    ColumnOption,
    Json,
    Level,
    Schedule,
    SourceArgument,
    Vocabulary,
)
from isoflop.cli.words import json_with_options, with_options

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
    column: ColumnOption = None,
    schedule: Schedule = None,
    vocabulary: Vocabulary = None,
    as_json: Json = False,
) -> None:
    """Compare two systems at one compute: best size, tokens, loss and compute-equivalent gain.

    Both must report the loss on the same held-out data.
    """
    from isoflop.compute.budget import flops_of
    from isoflop.fitting.compare import compare as compare_runs
    from isoflop.storage.tables import read_runs

    reading = reading_of(column, schedule, vocabulary)
    runs = [read_runs(source, **reading) for source in (first, second)]
    # compare() reads the level, as a number or a text.
    comparison = compare_runs(
        *runs, flops=flops_of(target), approach=approach_of(approach), level=cast(float, level)
    )
    typer.echo(json_with_options(comparison) if as_json else with_options(str(comparison)))


def holdout(
    runs: SourceArgument,
    budgets: Annotated[
        int, typer.Option(help="How many of the largest budgets are held out.", min=1)
    ] = 1,
    approach: Approach = None,
    column: ColumnOption = None,
    schedule: Schedule = None,
    vocabulary: Vocabulary = None,
    as_json: Json = False,
) -> None:
    """Predict the largest budgets from the smaller ones, and show the errors."""
    from isoflop.fitting.holdout import holdout as hold_out
    from isoflop.reporting.json_output import to_json
    from isoflop.storage.tables import read_runs

    given = read_runs(runs, **reading_of(column, schedule, vocabulary))
    result = hold_out(given, approach_of(approach), budgets=budgets)
    typer.echo(to_json(result) if as_json else holdout_table(result))


def holdout_table(result: "Holdout") -> str:
    """One line for each budget held out; cells are blank if it has no minimum of its own."""
    from isoflop.display.format import align_columns, format_flops, format_number

    def cell(error: float) -> str:
        return f"{100 * error:+.2g} %" if math.isfinite(error) else ""

    rows: list[tuple[str, ...]] = [("budget", "beyond the rest", "params", "tokens", "loss")]
    for held in result.budgets:
        beyond = f"{format_number(held.budget / result.largest_used, 2)}x"
        errors = (held.num_params, held.num_tokens, held.loss)
        rows.append((format_flops(held.budget), beyond, *map(cell, errors)))
    return "Prediction against measurement\n" + align_columns(rows, "  ")
