"""Where the public tables are and how results are written: Markdown with date and machine."""

import csv
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from isoflop.runs import Run, RunSpec

RESULTS = Path(__file__).parents[1] / "results"
SWEEPS = {
    "Chinchilla": "chinchilla_epoch.csv",
    "Porian 1 (Kaplan's recipe)": "porian_rw_1_kaplan_repro.csv",
    "Porian 2 (last layer counted)": "porian_rw_2_lastlayer.csv",
    "Porian 3 (warm-up)": "porian_rw_3_warmup.csv",
    "Porian 4 (cosine)": "porian_rw_4_cosine.csv",
    "Porian 5 (tuned)": "porian_rw_5_tuned.csv",
    "xLSTM's Llama": "xlstm_llama_ctx8192.csv",
    "Marin comma": "marin_comma.csv",
    "Marin DCLM": "marin_dclm.csv",
    "Protein CLM": "protein_clm.csv",
}
"""Public sweeps with budgets; the CS336 table is synthetic and left out."""
FAMILIES = {
    "Chinchilla": "chinchilla",
    "Porian 1 (Kaplan's recipe)": "porian",
    "Porian 2 (last layer counted)": "porian",
    "Porian 3 (warm-up)": "porian",
    "Porian 4 (cosine)": "porian",
    "Porian 5 (tuned)": "porian",
    "xLSTM's Llama": "xlstm",
    "Marin comma": "marin",
    "Marin DCLM": "marin",
    "Protein CLM": "protein",
}
"""Sweeps of one source share code, people and data: they are one witness, and weigh as one."""
TEXT_SWEEPS = {name: file for name, file in SWEEPS.items() if FAMILIES[name] != "protein"}
"""Sweeps of language models of text."""


def data_folder() -> Path:
    usual = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ISOFLOP_DATA", usual))
    if not folder.is_dir():
        sys.exit(f"No public tables in {folder}; ISOFLOP_DATA names the folder that has them.")
    return folder


def a_run(
    N: float,
    D: float,
    loss: float,
    flops: float,
    budget: float | None = None,
    group: str | None = None,
) -> Run:
    spec = RunSpec(num_params=N, num_tokens=D, flops=flops, budget=budget)
    return Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=flops, group=group)


def published(name: str, *, outliers: bool = False, **where: str) -> list[Run]:
    """Runs of a public table, without the rows that its source left out.

    where: column -> what a row must have there, such as split="train".
    """
    with (data_folder() / name).open() as lines:
        rows = [row for row in csv.DictReader(lines) if outliers or _is_kept(row)]
    return [
        a_run(
            *(float(row[column]) for column in ("params", "tokens", "loss", "flops")),
            budget=float(row["compute_budget"]) if row["compute_budget"] else None,
            group=row.get("run"),
        )
        for row in rows
        if all(row[column] == value for column, value in where.items())
    ]


def _is_kept(row: dict[str, str]) -> bool:
    return row.get("outlier_source", "0") in ("0", "")


def machine() -> str:
    cores = os.cpu_count()
    return f"{cores}-core {platform.machine()} {platform.system()} machine, CPU only, one thread"


def markdown(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write(name: str, title: str, command: str, *parts: str) -> None:
    """Write and print one page of results."""
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    head = f"# {title}\n\n{when}, {machine()}. Made by `{command}`."
    page = "\n\n".join([head, *parts]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(page)
    print(page)
