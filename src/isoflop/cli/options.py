"""Arguments and options that several commands share, with their help."""

from pathlib import Path
from typing import Annotated

import typer

from isoflop.cli.arguments import APPROACHES

__all__ = [
    "AllowFar",
    "Approach",
    "Budget",
    "By",
    "CheckRates",
    "ColumnOption",
    "DataWorkers",
    "Design",
    "Executor",
    "Form",
    "Hardware",
    "Json",
    "Keep",
    "Level",
    "Packed",
    "PlanStore",
    "Prior",
    "Processes",
    "Result",
    "Schedule",
    "Settings",
    "SourceArgument",
    "Spend",
    "StoreArgument",
    "StoreOption",
    "Target",
    "TaskArgument",
    "TaskOption",
    "Template",
    "TuneRates",
    "Vocabulary",
]

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="Store folder, table (CSV, TSV, Excel, parquet), or a tracker's folder, file or "
        "address, as wandb:entity/project.",
        metavar="RUNS",
    ),
]
StoreArgument = Annotated[
    Path, typer.Argument(help="Folder that `isoflop train --store` was given.", metavar="STORE")
]
StoreOption = Annotated[
    Path,
    typer.Option("--store", help="Folder for the runs; the same command goes on where it stopped."),
]
TaskArgument = Annotated[
    str,
    typer.Argument(
        help="module:task or file.py:task, an isoflop.Task or Family; or a table of sizes (CSV, "
        "TSV or parquet with columns size, params and flops_per_token).",
        metavar="MODULE:TASK|SIZES.csv",
    ),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        "--columns",
        help="A table's column, as params=my_col or 'params=my_col * 1e6'; may be repeated.",
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="How the learning rate of a table's runs went, where no column says so: constant, or "
        "decayed at each row."
    ),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(help="Distinct tokens of the models; a run with a loss above its log has failed."),
]
By = Annotated[
    str | None,
    typer.Option(help="A table's column, as arch: one fit for each of its values."),
]
Approach = Annotated[
    str | None, typer.Option(help=f"How runs become a law: {', '.join(APPROACHES)}.")
]
Prior = Annotated[
    str | None,
    typer.Option(help="Prior of the slope of log N over log C, as 0.5±0.05; or flat."),
]
Keep = Annotated[
    str,
    typer.Option(
        help="Which completed runs count: sound, or all, those that look badly trained among them."
    ),
]
Level = Annotated[str, typer.Option(help="Coverage of the intervals.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Target = Annotated[
    str | None,
    typer.Option(help="FLOPs of the final run, e.g. 1e21 or '8xH100 for 3 days at 40% MFU'."),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="module:task: which to fit in a store of several, and sizes that build; or a table "
        "of sizes."
    ),
]
Budget = Annotated[
    list[str] | None,
    typer.Option(help="FLOPs of one IsoFLOP curve, or '10 H100-hours'; repeat it for each curve."),
]
Spend = Annotated[
    str | None,
    typer.Option(
        help="What the sweep may cost: 1% of the target, FLOPs, or '$500 at $2.50/H100-hour'."
    ),
]
Hardware = Annotated[
    str | None,
    typer.Option(
        help="What the runs are for, as '8xH100 at 40% MFU'; its memory limits the sizes."
    ),
]
Design = Annotated[
    str,
    typer.Option(
        help="How a target's runs are chosen: sequential, lean (four IsoFLOP curves of five "
        "sizes), or auto: lean below a million params."
    ),
]
AllowFar = Annotated[
    bool,
    typer.Option(
        "--allow-far",
        help="Plan for a target more than 1,000 times the largest run that is paid for.",
    ),
]
CheckRates = Annotated[
    bool | None,
    typer.Option(
        "--check-rates/--no-check-rates",
        help="Short runs beside the sweep, 3 % of it at most, that check the learning rates and "
        "batches; by default where isoflop trains.",
    ),
]
TuneRates = Annotated[
    bool | None,
    typer.Option(
        "--tune/--no-tune",
        help="Tune the learning rates where their check fails; by default within a --spend.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Field of a table's family or recipe, as tokens_per_example=1024 or "
        "batch_tokens=524288; may be repeated.",
    ),
]
Form = Annotated[
    str, typer.Option("--format", help="text, or json, csv or commands for a trainer.")
]
Template = Annotated[
    str | None,
    typer.Option(
        "--command", help="Command of each run, as 'python train.py --width {size} --lr {lr:g}'."
    ),
]
PlanStore = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder to keep the plan in, for `isoflop tell` by the ids of runs."
    ),
]
Result = Annotated[
    str | None,
    typer.Option(
        help="Where --command leaves the held-out loss: 'result.json:loss', "
        "'metrics.csv:val_loss', or a regular expression with one group."
    ),
]
Processes = Annotated[str | None, typer.Option(help="Runs trained at the same time here.")]
DataWorkers = Annotated[
    str, typer.Option(help="Processes that read the data of each run: a number, or auto.")
]
Packed = Annotated[
    bool,
    typer.Option(
        "--packed",
        help="Train runs that differ in seed, learning rate or weight decay alone in one program.",
    ),
]
Executor = Annotated[
    str | None, typer.Option(help="Where: processes:8, ray, ray://host:10001, slurm:partition.")
]
