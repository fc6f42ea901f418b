"""isoflop tune: the learning rate's rule for a task, from short runs."""

# Imported inside the command, as in cli/app.py: `isoflop --help` must answer at once.

from typing import TYPE_CHECKING, Annotated

import typer

from isoflop.cli.arguments import data_workers_of, executor_of, load_task
from isoflop.cli.families import trainer_of
from isoflop.cli.options import (
    DataWorkers,
    Executor,
    Json,
    Packed,
    Processes,
    Result,
    Settings,
    StoreOption,
    TaskArgument,
    Template,
)
from isoflop.cli.words import json_with_options, with_options

if TYPE_CHECKING:
    from isoflop.fitting.setting_rule import Fitted
    from isoflop.training.tuning import Tuning

__all__ = ["tune"]


def tune(
    task: TaskArgument,
    store: StoreOption,
    budget: Annotated[
        list[str],
        typer.Option(
            help="FLOPs of one IsoFLOP curve of the sweep to come; repeat it for each curve."
        ),
    ],
    share: Annotated[
        float, typer.Option(help="Share of the sweep's FLOPs that tuning may spend.")
    ] = 0.1,
    batch: Annotated[
        bool, typer.Option("--batch", help="Look for the tokens per step too.")
    ] = False,
    settings: Settings = None,
    command: Template = None,
    result: Result = None,
    processes: Processes = None,
    executor: Executor = None,
    data_workers: DataWorkers = "auto",
    packed: Packed = False,
    as_json: Json = False,
) -> None:
    """Fit the learning rate as a power law of params and tokens.

    Short runs at two sizes and two lengths are trained.
    """
    from isoflop.planning.plan import plan
    from isoflop.training.tuning import tune as tune_rates

    loaded, trainer = load_task(task, settings), trainer_of(command, result)
    where = executor_of(executor, processes)
    tuning = tune_rates(
        loaded,
        plan(loaded, budgets=budget),
        trainer=trainer,
        store=store,
        executor=where,
        data_workers=data_workers_of(data_workers),
        share=share,
        batch=batch,
        packed=packed,
    )
    typer.echo(
        json_with_options(tuning_values(tuning))
        if as_json
        else f"{with_options(str(tuning))}\n\n{recipe_line(tuning)}"
    )


def recipe_line(tuning: "Tuning") -> str:
    """The line of Python that puts the rules into the task."""
    rules = [
        ("lr", tuning.lr),
        *([("batch_tokens", tuning.batch)] if tuning.batch is not None else []),
    ]
    return f"recipe=isoflop.Recipe({', '.join(f'{name}={_call(one)}' for name, one in rules)})"


def _call(fitted: "Fitted") -> str:
    rule = fitted.rule
    return (
        f"isoflop.PowerRule({rule.coefficient!r}, num_params={rule.num_params!r}, "
        f"num_tokens={rule.num_tokens!r})"
    )


def tuning_values(tuning: "Tuning") -> dict[str, object]:
    """The tuning for other programs."""
    return {
        "lr": _rule_values(tuning.lr),
        "batch_tokens": None if tuning.batch is None else _rule_values(tuning.batch),
        "flops": tuning.flops,
        "allowance": tuning.allowance,
        "cost_inside": tuning.cost_inside,
        "cost_at_largest": tuning.cost_at_largest,
        "notes": tuning.notes,
    }


def _rule_values(fitted: "Fitted") -> dict[str, object]:
    by_size, by_tokens = fitted.exponent_deviations
    return {"rule": fitted.rule, "num_params_deviation": by_size, "num_tokens_deviation": by_tokens}
