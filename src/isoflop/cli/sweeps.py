"""isoflop plan and train: the runs of a sweep, and their training."""

# Imported inside each command, as in cli/app.py: `isoflop --help` must answer at once.

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from isoflop.cli.arguments import executor_of, load_task
from isoflop.cli.options import (
    AllowFar,
    Budget,
    Design,
    Executor,
    Hardware,
    Json,
    Processes,
    Spend,
    StoreOption,
    Target,
    TaskArgument,
)
from isoflop.cli.words import with_options
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.planning import stage
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run
    from isoflop.task import Task

__all__ = ["plan", "train"]

SOME_FAILED = 3
"""Exit code of a sweep that was trained, but for runs that failed."""


def plan(
    task: TaskArgument,
    budget: Budget = None,
    target: Target = None,
    spend: Spend = None,
    runs: Annotated[str | None, typer.Option(help="Store or table of the runs so far.")] = None,
    hardware: Hardware = None,
    design: Design = "sequential",
    allow_far: AllowFar = False,
    as_json: Json = False,
) -> None:
    """Show the next runs and their cost; nothing is trained."""
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
        design=cast("stage.Design", design),
        allow_far=allow_far,
        forecast=True,
    )
    typer.echo(to_json(sweep_values(sweep)) if as_json else with_options(str(sweep)))


def train(
    task: TaskArgument,
    store: StoreOption,
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
    """Train the runs of a sweep that the store lacks; several such commands may share a store."""
    from isoflop.planning.question import sweep_question
    from isoflop.reporting.json_output import run_values, to_json
    from isoflop.reporting.tables import runs_table, to_text
    from isoflop.stages import train_stages
    from isoflop.storage.directory import DirectoryStore

    where = executor_of(executor, processes)
    loaded = load_task(task)
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
        forecast=not as_json,
    )
    trained = train_stages(loaded, question, store=folder, executor=where, on_stage=begin)
    runs = trained.runs
    if not as_json:
        typer.echo(with_options("\n".join(trained.notes)))
    typer.echo(to_json([run_values(run) for run in runs]) if as_json else to_text(runs_table(runs)))
    if any(run.status == "failed" for run in runs):
        raise typer.Exit(SOME_FAILED)


def _live_page(
    page: Path, target: str | None, sweep: "Sweep", task: "Task", runs: "list[Run]"
) -> Callable[["Run"], Path]:
    """A function that redraws the page after each run of a stage."""
    from isoflop.compute.budget import flops_of
    from isoflop.reporting.live import live_report

    if target is None:
        raise DataError(
            "--page answers for one compute; give --target, the FLOPs of the final run."
        )
    return live_report(page, target=flops_of(target), sweep=sweep, runs=runs, task=task)
