"""isoflop plan and train: the runs of a sweep, and their training."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from isoflop.cli.arguments import data_workers_of, executor_of, load_task, one_form
from isoflop.cli.families import handed_out, trainer_of
from isoflop.cli.options import (
    AllowFar,
    Budget,
    CheckRates,
    DataWorkers,
    Design,
    Executor,
    Form,
    Hardware,
    Json,
    Packed,
    PlanStore,
    Processes,
    Result,
    Settings,
    Spend,
    StoreOption,
    Target,
    TaskArgument,
    Template,
    TuneRates,
)
from isoflop.cli.words import echo_notes, json_with_options, with_options
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.family import Family
    from isoflop.planning import stage
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run
    from isoflop.task import Task

__all__ = ["next_stage", "plan", "train"]

SOME_FAILED = 3
"""Exit code of a sweep that was trained, but for runs that failed."""


def plan(
    task: TaskArgument,
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    runs: Annotated[str | None, typer.Option(help="Store or table of the runs so far.")] = None,
    hardware: Hardware = None,
    design: Design = "auto",
    allow_far: AllowFar = False,
    check_rates: CheckRates = None,
    settings: Settings = None,
    form: Form = "text",
    command: Template = None,
    store: PlanStore = None,
    as_json: Json = False,
) -> None:
    """Show the next runs and their cost; nothing is trained.

    With --format the runs are handed out to a trainer, with everything that it needs.
    """
    from isoflop.planning.plan import plan as plan_sweep
    from isoflop.storage.tables import read_runs

    one_form(form, as_json=as_json)
    if check_rates and (form != "text" or store is not None):
        raise DataError(
            "--check-rates plans short runs that `isoflop train` makes, and no plan hands them "
            "out; leave it out."
        )
    known = () if runs is None else read_runs(runs)
    sweep = plan_sweep(
        load_task(task, settings),
        budgets=budget or None,
        target=target,
        spend=spend,
        runs=known,
        hardware=hardware,
        design=cast("stage.Design", design),
        allow_far=allow_far,
        check_rates=_auto(check_rates),
        forecast=form == "text",
    )
    show(sweep, form, command, store, as_json=as_json)


def next_stage(
    sizes: Annotated[str, typer.Argument(help="Table of sizes, or module:task.", metavar="SIZES")],
    runs: Annotated[str, typer.Argument(help="Store or table of the runs so far.", metavar="RUNS")],
    target: Annotated[str, typer.Option(help="FLOPs of the final run.")],
    spend: Annotated[str, typer.Option(help="What the sweep may cost in all, as 1% or FLOPs.")],
    hardware: Hardware = None,
    design: Design = "auto",
    allow_far: AllowFar = False,
    check_rates: CheckRates = None,
    settings: Settings = None,
    form: Form = "text",
    command: Template = None,
    store: PlanStore = None,
    as_json: Json = False,
) -> None:
    """Plan the next stage of a target's sweep from the runs so far; no runs mean it is finished.

    Nothing is kept between two calls but what the two tables, or the store, say.
    """
    plan(
        sizes,
        target=target,
        spend=spend,
        runs=runs,
        hardware=hardware,
        design=design,
        allow_far=allow_far,
        check_rates=check_rates,
        settings=settings,
        form=form,
        command=command,
        store=store,
        as_json=as_json,
    )


def _auto(flag: bool | None) -> "bool | Literal['auto']":
    """The value of a flag, "auto" where it was not given."""
    return "auto" if flag is None else flag


def show(
    sweep: "Sweep", form: str, command: str | None, store: Path | None, *, as_json: bool
) -> None:
    """Print a plan in a form, with its notes on stderr where a program reads stdout."""
    from isoflop.reporting.json_output import sweep_values
    from isoflop.storage.directory import DirectoryStore

    text = handed_out(sweep, form, command)
    if store is not None:
        sweep.save(DirectoryStore(store))
    if as_json:
        typer.echo(json_with_options(sweep_values(sweep)))
    elif form == "text":
        typer.echo(with_options(text))
    else:
        if text:  # a blank line would be a command of its own
            typer.echo(text)
        echo_notes(sweep.notes)


def train(
    task: TaskArgument,
    store: StoreOption,
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    processes: Processes = None,
    executor: Executor = None,
    data_workers: DataWorkers = "auto",
    packed: Packed = False,
    page: Annotated[
        Path | None, typer.Option(help="HTML page to draw again after each run; needs --target.")
    ] = None,
    hardware: Hardware = None,
    design: Design = "auto",
    allow_far: AllowFar = False,
    check_rates: CheckRates = None,
    tune: TuneRates = None,
    settings: Settings = None,
    command: Template = None,
    result: Result = None,
    as_json: Json = False,
) -> None:
    """Train the runs of a sweep that the store lacks; several such commands may share a store."""
    from isoflop.planning.question import sweep_question
    from isoflop.reporting.json_output import run_values, to_json
    from isoflop.reporting.tables import runs_table, to_text
    from isoflop.stages import train_stages
    from isoflop.storage.directory import DirectoryStore

    if tune and check_rates is False:
        raise DataError(
            "--tune is for learning rates whose check fails, and --no-check-rates leaves the check "
            "out; give one of them."
        )
    where = executor_of(executor, processes)
    loaded, trainer = load_task(task, settings), trainer_of(command, result)
    folder = DirectoryStore(store)

    def begin(sweep: "Sweep", runs: list["Run"]) -> Callable[["Run"], Path] | None:
        if not as_json:
            typer.echo(with_options(str(sweep)))
        return None if page is None else _live_page(page, target, sweep, loaded, runs)

    question = sweep_question(
        budgets=budget or None,
        target=target,
        spend=spend,
        hardware=hardware,
        design=design,
        allow_far=allow_far,
        check_rates=_auto(check_rates),
        forecast=not as_json,
    )
    trained = train_stages(
        loaded,
        question,
        trainer=trainer,
        store=folder,
        executor=where,
        data_workers=data_workers_of(data_workers),
        packed=packed,
        on_stage=begin,
        tune=_auto(tune),
    )
    runs = trained.runs
    if not as_json:
        typer.echo(with_options("\n".join(trained.notes)))
    typer.echo(to_json([run_values(run) for run in runs]) if as_json else to_text(runs_table(runs)))
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(SOME_FAILED)


def _live_page(
    page: Path, target: str | None, sweep: "Sweep", task: "Task | Family", runs: "list[Run]"
) -> Callable[["Run"], Path]:
    """A function that redraws the page after each run of a stage."""
    from isoflop.compute.budget import flops_of
    from isoflop.reporting.live import live_report

    if target is None:
        raise DataError(
            "--page answers for one compute; give --target, the FLOPs of the final run."
        )
    return live_report(page, target=flops_of(target), sweep=sweep, runs=runs, task=task)
