"""isoflop plan | train | fit | predict | report: the five verbs on the command line, and the commands beside them.

Exit codes: 0 done; 1 a fault of isoflop, with its traceback; 2 a question that cannot be answered, a task that cannot
be made or a wrong option, in one sentence on stderr; 3 trained, but some runs failed; 75 stopped by SIGTERM with
everything saved; 130 stopped with Ctrl-C.
"""

# What a command needs is imported inside it: `isoflop --help` must answer at once, `isoflop fit` needs no torch, and
# only `isoflop report` needs matplotlib.

import dataclasses
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from isoflop.cli.arguments import FORMS, executor_of, load_task, writer_of
from isoflop.cli.budget import budget
from isoflop.cli.compare import compare, holdout
from isoflop.cli.fit import answer_of, fit_runs_of
from isoflop.cli.options import (
    AllowFar,
    Approach,
    Budget,
    Column,
    Design,
    Executor,
    Hardware,
    Json,
    Keep,
    Level,
    Prior,
    Processes,
    SourceArgument,
    Spend,
    StoreArgument,
    Target,
    TaskArgument,
    TaskOption,
)
from isoflop.cli.tune import tune
from isoflop.cli.words import with_options
from isoflop.errors import DataError, IsoflopError, StoreError

if TYPE_CHECKING:
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run
    from isoflop.storage.directory import DirectoryStore
    from isoflop.task import Task

__all__ = ["app", "main"]

SOME_FAILED = 3
"""Exit code of a sweep that was trained, but for runs that failed."""

app = typer.Typer(
    help="How big a model and how much data for a compute budget: plan, train, fit, predict, report.",
    epilog="Exit codes: 0 done, 1 a fault, 2 a question that cannot be answered or a wrong option, 3 trained but "
    "some runs failed, 75 stopped by SIGTERM with everything saved, 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(budget)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(installed_version("isoflop"))
        raise typer.Exit


@app.command()
def plan(
    task: TaskArgument,
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    runs: Annotated[str | None, typer.Option(help="Store or table of what was run so far.")] = None,
    hardware: Hardware = None,
    design: Design = "sequential",
    allow_far: AllowFar = False,
    as_json: Json = False,
) -> None:
    """Show the runs to make next and what they cost; nothing is trained."""
    from isoflop.planning.plan import plan as plan_sweep
    from isoflop.reporting.json_output import sweep_values, to_json
    from isoflop.storage.tables import read_runs

    known = () if runs is None else read_runs(runs)
    sweep = plan_sweep(
        load_task(task),
        budgets=budget or None,
        target=target,
        spend=spend,
        runs=known,
        hardware=hardware,
        design=cast(Any, design),
        allow_far=allow_far,
        forecast=True,
    )
    typer.echo(to_json(sweep_values(sweep)) if as_json else with_options(str(sweep)))


@app.command()
def train(
    task: TaskArgument,
    store: Annotated[
        Path, typer.Option(help="Folder for the runs; the same command goes on where it stopped.")
    ],
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    processes: Processes = None,
    executor: Executor = None,
    page: Annotated[
        Path | None, typer.Option(help="HTML page to draw again after each run; needs --target.")
    ] = None,
    hardware: Hardware = None,
    design: Design = "sequential",
    allow_far: AllowFar = False,
    as_json: Json = False,
) -> None:
    """Train the runs of a sweep that the store does not have yet; several of these may share a store."""
    from isoflop.compute.budget import asked
    from isoflop.reporting.json_output import run_values, to_json
    from isoflop.reporting.tables import runs_table, to_text
    from isoflop.stages import Question, train_stages
    from isoflop.storage.directory import DirectoryStore

    where = executor_of(executor, processes)
    loaded = load_task(task)
    folder = DirectoryStore(store)

    def begin(sweep: "Sweep", runs: list["Run"]) -> Any:
        if not as_json:
            typer.echo(with_options(str(sweep)))
        return None if page is None else _live_page(page, target, sweep, loaded, runs)

    question = Question(
        asked(budget or None, target, spend),
        hardware,
        cast(Any, design),
        allow_far,
        forecast=not as_json,
    )
    found = train_stages(loaded, question, store=folder, executor=where, on_stage=begin)
    runs = found.runs
    if not as_json:
        typer.echo(with_options("\n".join(found.notes)))
    typer.echo(to_json([run_values(run) for run in runs]) if as_json else to_text(runs_table(runs)))
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(SOME_FAILED)


@app.command()
def fit(
    runs: SourceArgument,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="FLOPs of the run that is wanted, as for `isoflop plan`; repeat it for a table."
        ),
    ] = None,
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = "0.9",
    keep: Keep = "sound",
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Fit a law to runs; with --target, answer how big and how much data."""
    from isoflop.reporting.json_output import fit_values, to_json

    loaded = None if task is None else load_task(task)
    fitted = fit_runs_of(runs, loaded, approach, prior, level, keep, column)
    answer = (
        answer_of(fitted, loaded, flops=target if len(target) > 1 else target[0])
        if target
        else None
    )
    if as_json:
        typer.echo(
            to_json({"fit": fit_values(fitted), "optimum": getattr(answer, "optima", answer)})
        )
    elif answer is None:
        typer.echo(with_options(str(fitted)))
    else:  # the answer repeats the fit's doubts, for its own compute
        shown = dataclasses.replace(fitted, notes=(), holdout=None)
        typer.echo(with_options(f"{shown}\n\n{answer}"))


@app.command()
def predict(
    runs: SourceArgument,
    flops: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute to be spent, in FLOPs or as `isoflop budget` takes it; repeat it for a table."
        ),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(help="Params, as 70B, to ask for the compute they are best at."),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(help="Tokens, as 1T, to ask for the compute they are best at."),
    ] = None,
    loss: Annotated[
        list[str] | None, typer.Option(help="Loss, to ask for the least compute that reaches it.")
    ] = None,
    served_tokens: Annotated[
        str | None, typer.Option(help="Tokens that the model will serve: compute pays for both.")
    ] = None,
    unique_tokens: Annotated[
        str | None,
        typer.Option(
            help="Distinct training tokens that there are: beyond them some are repeated."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric of the runs to expect too; name its column with --column."),
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(help="Keep the size to what one device holds: '80 GB' or H100.")
    ] = None,
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = "0.9",
    keep: Keep = "sound",
    column: Column = None,
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
    """Answer one question from runs: compute, params, tokens or loss; several values give a table."""
    from isoflop.display import writers as written
    from isoflop.fitting.metrics import fit_metric
    from isoflop.reporting.json_output import to_json

    writes = writer_of(form)
    loaded = None if task is None else load_task(task)
    fitted = fit_runs_of(runs, loaded, approach, prior, level, keep, column)
    asked = {"flops": flops, "num_params": params, "num_tokens": tokens, "loss": loss}
    bounds = {
        "served_tokens": served_tokens,
        "unique_tokens": unique_tokens,
        "device_memory": device_memory,
    }
    question = {
        name: values if len(values) > 1 else values[0] for name, values in asked.items() if values
    }
    answer = answer_of(fitted, loaded, **question, **bounds)
    for name in metric or ():
        answer = answer.with_metric(fit_metric(fitted, name))
    if export is not None:
        _export(loaded, answer, export)
    if as_json:
        typer.echo(to_json(getattr(answer, "optima", answer)))
    else:
        typer.echo(
            with_options(str(answer))
            if form == "text"
            else getattr(written, writes)(answer.table())
        )


@app.command()
def report(
    runs: SourceArgument,
    target: Annotated[
        str, typer.Option(help="FLOPs of the run that is wanted, as for `isoflop plan`.")
    ],
    path: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = "0.9",
    keep: Keep = "sound",
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Write the answer with figures, runs and doubts as one HTML page."""
    from isoflop.reporting.json_output import to_json
    from isoflop.reporting.page import report as write_page

    loaded = None if task is None else load_task(task)
    fitted = fit_runs_of(runs, loaded, approach, prior, level, keep, column)
    written = write_page(fitted, answer_of(fitted, loaded, flops=target), path=path, task=loaded)
    typer.echo(to_json({"path": str(written)}) if as_json else written)


for _command in (compare, holdout, tune):
    app.command()(_command)


@app.command()
def status(store: StoreArgument, as_json: Json = False) -> None:
    """Show what ran, failed and waits in a store, by stage."""
    from isoflop.reporting.json_output import standing_values, to_json
    from isoflop.reporting.status import standing_text
    from isoflop.storage.status import stage_statuses

    stages = stage_statuses(_open_store(store))
    typer.echo(
        to_json([standing_values(stage) for stage in stages]) if as_json else standing_text(stages)
    )


@app.command()
def rerun(store: StoreArgument, as_json: Json = False) -> None:
    """Forget the failed runs of a store, so that the next train tries them again.

    Files that cannot be read are set aside under a new name.
    """
    from isoflop.display.format import LONG, one_line
    from isoflop.reporting.json_output import run_values, to_json
    from isoflop.storage.status import clear_failed

    failed = clear_failed(_open_store(store))
    if as_json:
        typer.echo(to_json([run_values(run) for run in failed]))
        return
    for run in failed:
        typer.echo(one_line(f"{run.id} size {run.size}: {run.error}", LONG))
    typer.echo(
        f"{len(failed)} failed run{'s' if len(failed) != 1 else ''} forgotten; the next train tries again."
    )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation: versions, devices and how fast they multiply, extras."""
    from isoflop.cli.doctor import checkup
    from isoflop.reporting.json_output import to_json

    found = checkup()
    typer.echo(to_json(found) if as_json else found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an IsoflopError becomes one sentence on stderr and exit code 2."""
    # Fits multiply many small matrices, where threads only wait for each other: 1.3 s with one, 14 to 34 s with two on
    # a busy machine of two cores. NumPy reads this once, when a command first imports it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=None if arguments is None else list(arguments))
    except IsoflopError as error:
        typer.echo(f"isoflop: {with_options(str(error))}", err=True)
        sys.exit(2)


def _open_store(path: Path) -> "DirectoryStore":
    from isoflop.display.format import one_line
    from isoflop.storage.directory import DirectoryStore

    if not os.path.isdir(path):
        raise StoreError(
            f"There is no store {one_line(path)}; name the folder that `isoflop train --store` was given."
        )
    return DirectoryStore(path)


def _export(task: "Task | None", answer: Any, path: Path) -> None:
    from isoflop.answers.predict import Optimum
    from isoflop.reporting.export import export_run

    if task is None or not isinstance(answer, Optimum):
        raise DataError(
            "--export writes the final run of one answer by the task's recipe; give --task and one question."
        )
    export_run(task, answer, path)


def _live_page(
    page: Path, target: str | None, sweep: "Sweep", task: "Task", runs: "list[Run]"
) -> Any:
    """What redraws the page after each run of a stage."""
    from isoflop.compute.budget import flops_of
    from isoflop.reporting.live import live_report

    if target is None:
        raise DataError(
            "--page answers for one compute; give --target, the FLOPs of the run that is wanted."
        )
    return live_report(page, target=flops_of(target), sweep=sweep, runs=runs, task=task)


if __name__ == "__main__":
    main()
