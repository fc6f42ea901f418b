"""isoflop plan | train | fit | predict | report: the five verbs on the command line; status | rerun for a store.

Exit codes: 0 done; 1 a fault of isoflop or of the task's code, with its traceback; 2 a question that cannot be
answered or a wrong option, in one sentence on stderr; 130 stopped with Ctrl-C.
"""

# What a command needs is imported inside it: `isoflop --help` must answer at once, `isoflop fit` needs no torch, and
# only `isoflop report` needs matplotlib.

import dataclasses
import importlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isoflop.errors import ContractError, DataError, IsoflopError, StoreError

if TYPE_CHECKING:
    from isoflop.fitting.fit import Fit
    from isoflop.optimum import Optimum
    from isoflop.runs import Run
    from isoflop.storage.directory import DirectoryStore
    from isoflop.task import Task

__all__ = ["app", "main"]

app = typer.Typer(
    help="How big a model and how much data for a compute budget: plan, train, fit, predict, report.",
    epilog="Exit codes: 0 done, 1 a fault, 2 a question that cannot be answered or a wrong option, 130 stopped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_APPROACHES = {
    "kriging": ("isoflop.fitting.kriging", "Kriging"),
    "parametric": ("isoflop.fitting.parametric", "Parametric"),
    "isoflop": ("isoflop.fitting.isoflop", "IsoFLOP"),
    "envelope": ("isoflop.fitting.envelope", "Envelope"),
}

SourceArgument = Annotated[str, typer.Argument(help="Store folder, or a CSV, TSV or parquet file.", metavar="RUNS")]
StoreArgument = Annotated[Path, typer.Argument(help="Folder that `isoflop train --store` was given.", metavar="STORE")]
TaskArgument = Annotated[
    str, typer.Argument(help="module:task or file.py:task, an isoflop.Task.", metavar="MODULE:TASK")
]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="Name of a table's column, as params=my_col; may be repeated.")
]
Approach = Annotated[str | None, typer.Option(help=f"How runs become a law: {', '.join(_APPROACHES)}.")]
Level = Annotated[float, typer.Option(help="Coverage of the intervals.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Target = Annotated[float | None, typer.Option(help="FLOPs of the run that is wanted, e.g. 1e21.")]
TaskOption = Annotated[str | None, typer.Option(help="module:task, for an answer in sizes that can be built.")]
Budget = Annotated[list[float] | None, typer.Option(help="FLOPs of one IsoFLOP curve; repeat it for each curve.")]
Spend = Annotated[float | None, typer.Option(help="Share of the target that the sweep may cost; above 1: FLOPs.")]


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
) -> None:
    """Show the runs of a sweep and what they cost; nothing is trained."""
    from isoflop.planning.sweep import plan as plan_sweep
    from isoflop.storage.tables import read_runs

    known = () if runs is None else read_runs(runs)
    typer.echo(plan_sweep(_load_task(task), budgets=budget or None, target=target, spend=spend, runs=known))


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
) -> None:
    """Train the runs of a sweep that the store does not have yet; several of these may share a store."""
    from isoflop.contract.fingerprint import digest_of
    from isoflop.planning.sweep import plan as plan_sweep
    from isoflop.reporting.tables import runs_table, to_text
    from isoflop.storage.directory import DirectoryStore
    from isoflop.training.executors.named import executor_from
    from isoflop.training.runner import train as train_runs

    if executor is not None and processes is not None:
        raise DataError(f"--processes {processes} is short for --executor processes:{processes}; give one of them.")
    where = executor_from(executor or (f"processes:{processes}" if processes else "in-process"))
    loaded = _load_task(task)
    sweep = plan_sweep(loaded, budgets=budget or None, target=target, spend=spend)
    typer.echo(sweep)
    folder = DirectoryStore(store)
    folder.write_stage(digest_of([spec.id for spec in sweep.specs]), sweep.specs, sweep.notes)
    runs = train_runs(loaded, sweep, store=folder, executor=where)
    typer.echo(to_text(runs_table(runs)))


@app.command()
def fit(
    runs: SourceArgument,
    target: Target = None,
    approach: Approach = None,
    level: Level = 0.9,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Fit a law to runs; with --target, answer how big and how much data."""
    fitted = _fit(runs, approach, level, column)
    answer = None if target is None else _answer(fitted, None, flops=target)
    if as_json:
        typer.echo(_json({"fit": _fit_values(fitted), "optimum": answer}))
    elif answer is None:
        typer.echo(fitted)
    else:  # the answer repeats the fit's doubts, for its own compute
        typer.echo(f"{dataclasses.replace(fitted, notes=(), holdout=None)}\n\n{answer}")


@app.command()
def predict(
    runs: SourceArgument,
    flops: Annotated[float | None, typer.Option(help="Compute to be spent.")] = None,
    params: Annotated[float | None, typer.Option(help="Params, to ask for the compute they are best at.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens, to ask for the compute they are best at.")] = None,
    loss: Annotated[float | None, typer.Option(help="Loss, to ask for the least compute that reaches it.")] = None,
    task: TaskOption = None,
    approach: Approach = None,
    level: Level = 0.9,
    column: Column = None,
    as_json: Json = False,
) -> None:
    """Answer one question from runs: compute, params, tokens or loss."""
    fitted = _fit(runs, approach, level, column)
    answer = _answer(fitted, task, flops=flops, num_params=params, num_tokens=tokens, loss=loss)
    typer.echo(_json(answer) if as_json else answer)


@app.command()
def report(
    runs: SourceArgument,
    target: Annotated[float, typer.Option(help="FLOPs of the run that is wanted, e.g. 1e21.")],
    path: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    task: TaskOption = None,
    approach: Approach = None,
    level: Level = 0.9,
    column: Column = None,
) -> None:
    """Write the answer with figures, runs and doubts as one HTML page."""
    from isoflop.reporting.page import report as write_page

    fitted = _fit(runs, approach, level, column)
    typer.echo(write_page(fitted, _answer(fitted, task, flops=target), path=path))


@app.command()
def status(store: StoreArgument) -> None:
    """Show what ran, failed and waits in a store, by stage."""
    from isoflop.reporting.standing import standing_text
    from isoflop.storage.standing import standings

    typer.echo(standing_text(standings(_open_store(store))))


@app.command()
def rerun(store: StoreArgument) -> None:
    """Forget the failed runs of a store, so that the next train tries them again."""
    from isoflop.storage.standing import forget_failed

    failed = forget_failed(_open_store(store))
    for run in failed:
        typer.echo(f"{run.id} size {run.size}: {run.error}")
    typer.echo(f"{len(failed)} failed run{'s' if len(failed) != 1 else ''} forgotten; the next train tries again.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an IsoflopError becomes one sentence on stderr and exit code 2."""
    # Fits multiply many small matrices, where threads only wait for each other: 1.3 s with one, 14 to 34 s with two on
    # a busy machine of two cores. NumPy reads this once, when a command first imports it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=None if arguments is None else list(arguments))
    except IsoflopError as error:
        typer.echo(f"isoflop: {error}", err=True)
        sys.exit(2)


def _open_store(path: Path) -> "DirectoryStore":
    from isoflop.storage.directory import DirectoryStore

    if not path.is_dir():
        raise StoreError(f"There is no store {path}; name the folder that `isoflop train --store` was given.")
    return DirectoryStore(path)


def _fit(source: str, approach: str | None, level: float, column: Sequence[str] | None) -> "Fit":
    from isoflop.fitting.fit import fit as fit_runs
    from isoflop.storage.tables import read_runs, table_notes

    runs = read_runs(source, columns=_columns(column or ()))
    fitted = fit_runs(runs, _approach(approach), level=level)
    told: tuple[str, ...] = () if Path(source).is_dir() else table_notes(fitted.runs)
    return dataclasses.replace(fitted, notes=(*fitted.notes, *told))


def _answer(fitted: "Fit", task: str | None, **question: float | None) -> "Optimum":
    from isoflop.optimum import predict as predict_optimum

    return predict_optimum(fitted, task=None if task is None else _load_task(task), **question)


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise DataError(f"--column must be written as field=name, as in params=my_col, but got {pair!r}.")
    return {field: name for field, _, name in (pair.partition("=") for pair in pairs)}


def _approach(name: str | None) -> Any:
    if name is None:
        return None
    if name.lower() not in _APPROACHES:
        raise DataError(f"--approach must be {' or '.join(_APPROACHES)}, but got {name!r}.")
    module, public = _APPROACHES[name.lower()]
    return getattr(importlib.import_module(module), public)()


def _load_task(address: str) -> "Task":
    """The task at module:name or file.py:name; a function without arguments is called for it."""
    from isoflop.task import Task

    module_name, _, name = address.rpartition(":")
    if not module_name or not name:
        raise ContractError(f"A task is named as module:task or file.py:task, but got {address!r}.")
    value = getattr(_load_module(module_name), name, None)
    task = value() if callable(value) else value
    if not isinstance(task, Task):
        raise ContractError(f"{address} must be an isoflop.Task or a function that gives one, but is {value!r}.")
    return task


def _load_module(name: str) -> Any:
    """A module by name or by file, as Python would find it from the current folder."""
    path = Path(name)
    folder, module = (str(path.resolve().parent), path.stem) if path.suffix == ".py" else (str(Path.cwd()), name)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the task's own code imports something that is missing
        raise ContractError(f"There is no module {name!r} in {folder} or among the installed packages.") from error


def _json(value: Any) -> str:
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON can hold: dataclasses as objects, numbers that are not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if math.isfinite(value) else None


def _fit_values(fitted: "Fit") -> dict[str, Any]:
    aside = [{"reason": one.reason, **_run_values(one.run)} for one in fitted.set_aside]
    return {
        "approach": repr(fitted.approach),
        "law": fitted.law,
        "objective": fitted.objective,
        "level": fitted.level,
        "num_runs": len(fitted.runs),
        "set_aside": aside,
        "notes": fitted.notes,
    }


def _run_values(run: "Run") -> dict[str, Any]:
    return {"num_params": run.num_params, "num_tokens": run.num_tokens, "flops": run.flops, "loss": run.loss}


if __name__ == "__main__":
    main()
