"""isoflop plan | train | fit | predict | report: the five verbs on the command line; and budget, status, rerun.

Exit codes: 0 done; 1 a fault of isoflop or of the task's code, with its traceback; 2 a question that cannot be
answered or a wrong option, in one sentence on stderr; 3 trained, but some runs failed; 75 stopped by SIGTERM with
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

from isoflop.cli_arguments import FORMS, approach_of, columns_of, load_task, prior_of, writer_of
from isoflop.cli_budget import budget
from isoflop.cli_options import (
    AllowFar,
    Approach,
    Budget,
    Column,
    Design,
    Hardware,
    Json,
    Level,
    Prior,
    SourceArgument,
    Spend,
    StoreArgument,
    Target,
    TaskArgument,
    TaskOption,
)
from isoflop.errors import DataError, IsoflopError, StoreError

if TYPE_CHECKING:
    from isoflop.fitting.fit import Fit
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run
    from isoflop.storage.directory import DirectoryStore
    from isoflop.task import Task

__all__ = ["app", "main"]

SOME_FAILED = 3
"""Exit code of a sweep that was trained, but for runs that failed."""

_OPTIONS = {"allow_far=True": "--allow-far"}
"""Arguments that sentences tell a Python user to give, as the options that they are here."""

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
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
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
    from isoflop.planning.sweep import plan as plan_sweep
    from isoflop.reporting.machine import sweep_values, to_json
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
    )
    typer.echo(to_json(sweep_values(sweep)) if as_json else sweep)


@app.command()
def train(
    task: TaskArgument,
    store: Annotated[Path, typer.Option(help="Folder for the runs; the same command goes on where it stopped.")],
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    processes: Annotated[int | None, typer.Option(help="Runs trained at the same time here.", min=1)] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where: processes:8, ray, ray://host:10001, slurm:partition.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="HTML page to draw again after each run; needs --target.")] = None,
    hardware: Hardware = None,
    design: Design = "sequential",
    allow_far: AllowFar = False,
    as_json: Json = False,
) -> None:
    """Train the runs of a sweep that the store does not have yet; several of these may share a store."""
    from isoflop.planning.asked import asked
    from isoflop.reporting.machine import run_values, to_json
    from isoflop.reporting.tables import runs_table, to_text
    from isoflop.storage.directory import DirectoryStore
    from isoflop.training.executors.named import executor_from
    from isoflop.training.stages import Question, train_stages

    if executor is not None and processes is not None:
        raise DataError(f"--processes {processes} is short for --executor processes:{processes}; give one of them.")
    where = executor_from(executor or (f"processes:{processes}" if processes else "in-process"))
    loaded = load_task(task)
    folder = DirectoryStore(store)

    def begin(sweep: "Sweep", runs: list["Run"]) -> Any:
        if not as_json:
            typer.echo(sweep)
        return None if page is None else _live_page(page, target, sweep, loaded, runs)

    question = Question(asked(budget or None, target, spend), hardware, cast(Any, design), allow_far)
    found = train_stages(loaded, question, store=folder, executor=where, on_stage=begin)
    runs = found.runs
    if not as_json:
        typer.echo("\n".join(found.notes))
    typer.echo(to_json([run_values(run) for run in runs]) if as_json else to_text(runs_table(runs)))
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(SOME_FAILED)


@app.command()
def fit(
    runs: SourceArgument,
    target: Annotated[
        list[str] | None,
        typer.Option(help="FLOPs of the run that is wanted, as for `isoflop plan`; repeat it for a table."),
    ] = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = 0.9,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Fit a law to runs; with --target, answer how big and how much data."""
    from isoflop.reporting.machine import fit_values, to_json

    fitted = _fit(runs, approach, prior, level, column)
    answer = _answer(fitted, None, flops=target if len(target) > 1 else target[0]) if target else None
    if as_json:
        typer.echo(to_json({"fit": fit_values(fitted), "optimum": getattr(answer, "optima", answer)}))
    elif answer is None:
        typer.echo(fitted)
    else:  # the answer repeats the fit's doubts, for its own compute
        typer.echo(f"{dataclasses.replace(fitted, notes=(), holdout=None)}\n\n{answer}")


@app.command()
def predict(
    runs: SourceArgument,
    flops: Annotated[
        list[str] | None,
        typer.Option(help="Compute to be spent, in FLOPs or as `isoflop budget` takes it; repeat it for a table."),
    ] = None,
    params: Annotated[list[float] | None, typer.Option(help="Params, to ask for the compute they are best at.")] = None,
    tokens: Annotated[list[float] | None, typer.Option(help="Tokens, to ask for the compute they are best at.")] = None,
    loss: Annotated[
        list[float] | None, typer.Option(help="Loss, to ask for the least compute that reaches it.")
    ] = None,
    served_tokens: Annotated[
        float | None, typer.Option(help="Tokens that the model will serve: compute pays for both.")
    ] = None,
    unique_tokens: Annotated[
        float | None, typer.Option(help="Distinct training tokens that there are: beyond them some are repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric of the runs to expect too; name its column with --column.")
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(help="Keep the size to what one device holds: '80 GB' or H100.")
    ] = None,
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = 0.9,
    column: Column = None,
    as_json: Json = False,
    form: Annotated[str, typer.Option("--format", help=f"Of a table over computes: {', '.join(FORMS)}.")] = "text",
    export: Annotated[
        Path | None, typer.Option(help="JSON file for the final run's size, tokens, batch, lr, steps; needs --task.")
    ] = None,
) -> None:
    """Answer one question from runs: compute, params, tokens or loss; several values give a table."""
    from isoflop import written
    from isoflop.fitting.metrics import fit_metric
    from isoflop.reporting.machine import to_json

    writes = writer_of(form)
    fitted, loaded = _fit(runs, approach, prior, level, column), None if task is None else load_task(task)
    asked = {"flops": flops, "num_params": params, "num_tokens": tokens, "loss": loss}
    bounds = {"served_tokens": served_tokens, "unique_tokens": unique_tokens, "device_memory": device_memory}
    question = {name: values if len(values) > 1 else values[0] for name, values in asked.items() if values}
    answer = _answer(fitted, loaded, **question, **bounds)
    for name in metric or ():
        answer = answer.with_metric(fit_metric(fitted, name))
    if export is not None:
        _export(loaded, answer, export)
    if as_json:
        typer.echo(to_json(getattr(answer, "optima", answer)))
    else:
        typer.echo(answer if form == "text" else getattr(written, writes)(answer.table()))


@app.command()
def report(
    runs: SourceArgument,
    target: Annotated[str, typer.Option(help="FLOPs of the run that is wanted, as for `isoflop plan`.")],
    path: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    task: TaskOption = None,
    approach: Approach = None,
    prior: Prior = None,
    level: Level = 0.9,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Write the answer with figures, runs and doubts as one HTML page."""
    from isoflop.reporting.machine import to_json
    from isoflop.reporting.page import report as write_page

    fitted, loaded = _fit(runs, approach, prior, level, column), None if task is None else load_task(task)
    written = write_page(fitted, _answer(fitted, loaded, flops=target), path=path, task=loaded)
    typer.echo(to_json({"path": str(written)}) if as_json else written)


@app.command()
def status(store: StoreArgument, as_json: Json = False) -> None:
    """Show what ran, failed and waits in a store, by stage."""
    from isoflop.reporting.machine import standing_values, to_json
    from isoflop.reporting.standing import standing_text
    from isoflop.storage.standing import standings

    stages = standings(_open_store(store))
    typer.echo(to_json([standing_values(stage) for stage in stages]) if as_json else standing_text(stages))


@app.command()
def rerun(store: StoreArgument, as_json: Json = False) -> None:
    """Forget the failed runs of a store, so that the next train tries them again."""
    from isoflop.reporting.machine import run_values, to_json
    from isoflop.storage.standing import forget_failed

    failed = forget_failed(_open_store(store))
    if as_json:
        typer.echo(to_json([run_values(run) for run in failed]))
        return
    for run in failed:
        typer.echo(f"{run.id} size {run.size}: {run.error}")
    typer.echo(f"{len(failed)} failed run{'s' if len(failed) != 1 else ''} forgotten; the next train tries again.")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation: versions, devices and how fast they multiply, extras."""
    from isoflop.doctor import checkup
    from isoflop.reporting.machine import to_json

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
        typer.echo(f"isoflop: {_sentence(error)}", err=True)
        sys.exit(2)


def _sentence(error: IsoflopError) -> str:
    said = str(error)
    for argument, option in _OPTIONS.items():
        said = said.replace(argument, option)
    return said


def _open_store(path: Path) -> "DirectoryStore":
    from isoflop.storage.directory import DirectoryStore

    if not path.is_dir():
        raise StoreError(f"There is no store {path}; name the folder that `isoflop train --store` was given.")
    return DirectoryStore(path)


def _fit(source: str, approach: str | None, prior: str | None, level: float, column: Sequence[str] | None) -> "Fit":
    from isoflop.fitting.fit import fit as fit_runs
    from isoflop.storage.tables import read_table, table_notes

    table = read_table(source, columns=columns_of(column or ()))
    fitted = fit_runs(table.runs, approach_of(approach), prior=prior_of(prior), level=level)
    told: tuple[str, ...] = () if Path(source).is_dir() else table_notes(fitted.runs)
    return dataclasses.replace(fitted, notes=(*fitted.notes, *table.notes, *told))


def _answer(fitted: "Fit", task: "Task | None", **question: Any) -> Any:
    """An Optimum, or Optima where the question has several values."""
    from isoflop.optimum import predict as predict_optimum

    return predict_optimum(fitted, task=task, **question)


def _export(task: "Task | None", answer: Any, path: Path) -> None:
    from isoflop.optimum import Optimum
    from isoflop.reporting.export import export_run

    if task is None or not isinstance(answer, Optimum):
        raise DataError(
            "--export writes the final run of one answer by the task's recipe; give --task and one question."
        )
    export_run(task, answer, path)


def _live_page(page: Path, target: str | None, sweep: "Sweep", task: "Task", runs: "list[Run]") -> Any:
    """What redraws the page after each run of a stage."""
    from isoflop.planning.asked import flops_of
    from isoflop.reporting.live import live_report

    if target is None:
        raise DataError("--page answers for one compute; give --target, the FLOPs of the run that is wanted.")
    return live_report(page, target=flops_of(target), sweep=sweep, runs=runs, task=task)


if __name__ == "__main__":
    main()
