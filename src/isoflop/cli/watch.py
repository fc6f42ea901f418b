"""isoflop watch: the curve of a run that is still training, against its forecast."""

# Imported inside the command, as in cli/app.py: `isoflop --help` must answer at once.

from typing import Annotated

import typer

from isoflop.cli.arguments import columns_of, load_task
from isoflop.cli.fit import fit_runs_of, fitting_of, reading_of
from isoflop.cli.options import (
    Approach,
    ColumnOption,
    Json,
    Keep,
    Level,
    Prior,
    Schedule,
    SourceArgument,
    TaskOption,
    Vocabulary,
)
from isoflop.cli.words import json_with_options, with_options

__all__ = ["watch"]


def watch(
    runs: SourceArgument,
    params: Annotated[str, typer.Option(help="Params of the run that trains, as 7B.")],
    tokens: Annotated[str, typer.Option(help="Tokens of the whole run, as 140B.")],
    curve: Annotated[
        str,
        typer.Option(
            help="Its curve so far: a table with columns tokens and loss, or a store's curve.jsonl."
        ),
    ],
    curve_column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the curve, as loss=train/nll or 'tokens=step * 4194304'; may be "
            "repeated."
        ),
    ] = None,
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = "0.9",
    keep: Keep = "sound",
    column: ColumnOption = None,
    schedule: Schedule = None,
    vocabulary: Vocabulary = None,
    as_json: Json = False,
) -> None:
    """Compare a run that is still training with the loss that the runs forecast for it."""
    from isoflop.answers.watch import watch as watch_run

    fitted = fit_runs_of(
        runs,
        None if task is None else load_task(task),
        reading_of(column, schedule, vocabulary),
        fitting_of(approach, prior, level, keep),
    )
    watched = watch_run(
        fitted, curve, num_params=params, num_tokens=tokens, columns=columns_of(curve_column or ())
    )
    typer.echo(json_with_options(watched) if as_json else with_options(str(watched)))
