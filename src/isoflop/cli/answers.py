"""isoflop fit, predict and report: the law of some runs, its answers and their page."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once, and only
# what draws a page needs matplotlib.

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from isoflop.cli.arguments import FORMS, load_task, one_form, writer_of
from isoflop.cli.fit import answer_of, fit_groups_of, fit_runs_of, fitting_of, reading_of
from isoflop.cli.options import (
    Approach,
    By,
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
from isoflop.cli.words import echo_notes, json_with_options, with_options
from isoflop.display.format import one_line
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.answers.optima import Optima
    from isoflop.answers.optimum import Optimum
    from isoflop.family import Family
    from isoflop.fitting.fit import Fit
    from isoflop.task import Task

__all__ = ["fit", "predict", "report"]


def fit(
    runs: SourceArgument,
    target: Annotated[
        list[str] | None,
        typer.Option(help="FLOPs of the final run, as for `isoflop plan`; repeat it for a table."),
    ] = None,
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = "0.9",
    keep: Keep = "sound",
    column: ColumnOption = None,
    schedule: Schedule = None,
    vocabulary: Vocabulary = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Fit a law to runs; with --target, answer how big and how much data."""
    loaded = None if task is None else load_task(task)
    reading = reading_of(column, schedule, vocabulary)
    fitting = fitting_of(approach, prior, level, keep)
    fits = (
        {"": fit_runs_of(runs, loaded, reading, fitting)}
        if by is None
        else fit_groups_of(runs, by, reading, fitting)
    )
    answers = {
        label: answer_of(fitted, loaded, flops=_one_or_all(target)) if target else None
        for label, fitted in fits.items()
    }
    if as_json:
        values = {label: _values(fitted, answers[label]) for label, fitted in fits.items()}
        typer.echo(json_with_options(values[""] if by is None else values))
        return
    for number, (label, fitted) in enumerate(fits.items()):
        if by is not None:
            typer.echo(f"{'' if number == 0 else chr(10)}{one_line(f'{by} = {label}')}")
        typer.echo(_shown(fitted, answers[label]))


def _values(fitted: "Fit", answer: "Optimum | Optima | None") -> dict[str, object]:
    """A fit and its answer for other programs."""
    from isoflop.reporting.json_output import fit_values

    return {"fit": fit_values(fitted), "optimum": getattr(answer, "optima", answer)}


def _shown(fitted: "Fit", answer: "Optimum | Optima | None") -> str:
    """A fit and its answer, which repeats the fit's doubts for its own compute."""
    if answer is None:
        return with_options(str(fitted))
    shown = dataclasses.replace(fitted, notes=(), holdout=None)
    return with_options(f"{shown}\n\n{answer}")


def predict(
    runs: SourceArgument,
    flops: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute of the final run, in FLOPs or as for `isoflop budget`; repeat it for a "
            "table."
        ),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(help="Params, as 70B, for the compute at which they are optimal."),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(help="Tokens, as 1T, for the compute at which they are optimal."),
    ] = None,
    loss: Annotated[
        list[str] | None, typer.Option(help="Loss, for the least compute that reaches it.")
    ] = None,
    served_tokens: Annotated[
        str | None, typer.Option(help="Tokens that the model will serve: compute pays for both.")
    ] = None,
    unique_tokens: Annotated[
        str | None,
        typer.Option(
            help="Number of distinct training tokens available; training longer repeats some."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric of the runs to predict too; name its column with --column."),
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(help="Keep the size to what one device holds: '80 GB' or H100.")
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
    form: Annotated[
        str, typer.Option("--format", help=f"Of a table over computes: {', '.join(FORMS)}.")
    ] = "text",
    export: Annotated[
        Path | None,
        typer.Option(
            help="JSON file for the final run's size, tokens, batch, lr, steps; needs --task."
        ),
    ] = None,
) -> None:
    """Answer one question from runs: by compute, params, tokens or loss; several give a table."""
    from isoflop.display import writers
    from isoflop.fitting.metrics import fit_metric

    writes = writer_of(form)
    one_form(form, as_json=as_json)
    loaded = None if task is None else load_task(task)
    fitted = fit_runs_of(
        runs,
        loaded,
        reading_of(column, schedule, vocabulary),
        fitting_of(approach, prior, level, keep),
    )
    given = {"flops": flops, "num_params": params, "num_tokens": tokens, "loss": loss}
    bounds = {
        "served_tokens": served_tokens,
        "unique_tokens": unique_tokens,
        "device_memory": device_memory,
    }
    question = {name: _one_or_all(values) for name, values in given.items() if values}
    answer = answer_of(fitted, loaded, **question, **bounds)
    for name in metric or ():
        answer = answer.with_metric(fit_metric(fitted, name))
    if export is not None:
        _export(loaded, answer, export)
    if as_json:
        typer.echo(json_with_options(getattr(answer, "optima", answer)))
    elif form == "text":
        typer.echo(with_options(str(answer)))
    else:
        typer.echo(getattr(writers, writes)(answer.table()))
        echo_notes(answer.notes)


def report(
    runs: SourceArgument,
    target: Annotated[str, typer.Option(help="FLOPs of the final run, as for `isoflop plan`.")],
    path: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
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
    """Write the answer with figures, runs and reasons to doubt as one HTML page."""
    from isoflop.reporting.json_output import to_json
    from isoflop.reporting.page import report as write_page

    loaded = None if task is None else load_task(task)
    fitted = fit_runs_of(
        runs,
        loaded,
        reading_of(column, schedule, vocabulary),
        fitting_of(approach, prior, level, keep),
    )
    answer = cast("Optimum", answer_of(fitted, loaded, flops=target))  # of one value
    written = write_page(fitted, answer, path=path, task=loaded)
    typer.echo(to_json({"path": str(written)}) if as_json else written)


def _one_or_all(values: list[str]) -> str | list[str]:
    """The value of an option that was given once, else the list of its values."""
    return values if len(values) > 1 else values[0]


def _export(task: "Task | Family | None", answer: object, path: Path) -> None:
    from isoflop.answers.predict import Optimum
    from isoflop.reporting.export import export_run

    if task is None or not isinstance(answer, Optimum):
        raise DataError(
            "--export writes the final run of one answer by the task's recipe; give --task and one "
            "question."
        )
    export_run(task, answer, path)
