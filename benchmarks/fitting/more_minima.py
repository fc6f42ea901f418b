"""Minima of more public sweeps, whose runs are not in the folder of tables: facts for priors.

    python benchmarks/fitting/more_minima.py FOLDER

makes `more_minima.csv` from a folder with one table for each name below, columns as in the public
tables. One row is one budget of five runs or more: the minimum that `find_minima` sees in the whole
sweep, and that of the parabola which held-out budgets are measured by; empty where there is none.
"""

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tables import a_run
from windows import LEAST_RUNS, minimum_of

from isoflop.fitting.bayesian.minima import find_minima
from isoflop.laws.points import Points

TABLE = Path(__file__).parent / "more_minima.csv"
PORIAN = "github.com/formll/resolving-scaling-law-discrepancies @0dc60d9 (OpenWebText2)"
KEMPNER = "github.com/LNSHRIVAS/small-llm-lab @4946afb (Brandfonbrener et al. 2024)"
SOURCES = {
    "porian_owt2_1_kaplan_repro": ("porian", PORIAN),
    "porian_owt2_2_lastlayer": ("porian", PORIAN),
    "porian_owt2_3_warmup": ("porian", PORIAN),
    "porian_owt2_4_cosine": ("porian", PORIAN),
    "porian_owt2_5_tuned": ("porian", PORIAN),
    "porian_rw_kaplan_tuned": ("porian", PORIAN.replace("OpenWebText2", "RefinedWeb")),
    "kempner_fineweb": ("kempner", KEMPNER),
    "kempner_fineweb_edu": ("kempner", KEMPNER),
    "kempner_proof_pile_2": ("kempner", KEMPNER),
    "kempner_slimpajama": ("kempner", KEMPNER),
    "kempner_smollm": ("kempner", KEMPNER),
    "kempner_starcoder": ("kempner", KEMPNER),
    "llama3_digitised": (
        "llama3",
        "github.com/eric-czech/llama3_isoflop_extraction @1bc1755 (fig. 2 of the Llama 3 report)",
    ),
    "marin_nemotron": ("marin", "github.com/Open-Athena/scaling-law-analysis @3e0656e"),
    "marin_moe_v16": ("marin_moe", "github.com/marin-community/marin (issue 4447)"),
    "protein_mlm": ("protein", "github.com/cxysteven/ScalingProteinLM @12acfa0"),
    "galah_bytes": ("galah", "github.com/harveyhoulahan/harvey-portfolio @4267d85"),
    "assocmem_zipf12": (
        "assocmem",
        "github.com/NicolasZucchet/Tutorial-scaling-laws @2238cff",
    ),
}
"""Sweep -> its family, and where its runs were published."""
FOUND = ("log_flops", "log_N", "log_N_error", "log_loss", "log_loss_error")
MEASURED = ("parabola_log_N", "parabola_error", "parabola_log_loss")
COLUMNS = ("sweep", "family", "source", "budget", *FOUND, *MEASURED)
HEADER = """\
# Minima of the budgets of public IsoFLOP sweeps, from the runs that each source published.
# log_N, log_loss and their standard errors: those of isoflop.fitting.bayesian.minima.find_minima.
# parabola_*: minimum of a parabola through log loss within x/4 of it, and the error of its log N.
# Natural logs; one row per budget of five runs or more; made by benchmarks/fitting/more_minima.py.
"""


def read() -> dict[str, list[dict[str, str]]]:
    """Sweep -> its rows, by rising budget."""
    with TABLE.open() as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        found[row["sweep"]].append(row)
    return dict(found)


def rows_of(name: str, points: Points) -> list[dict[str, object]]:
    family, source = SOURCES[name]
    minima = find_minima(points)
    found = []
    for budget in points.budgets:
        runs = points.pick(points.budget == budget)
        if len(runs) < LEAST_RUNS:
            continue
        log_flops = float(np.log(runs.C).mean())
        row: dict[str, object] = {"sweep": name, "family": family, "source": source}
        row |= {"budget": f"{budget:.4g}", "log_flops": round(log_flops, 5)}
        near = np.flatnonzero(np.abs(minima.log_flops - log_flops) < 0.2)
        if len(near):
            row |= _rounded(FOUND, _columns(minima, int(near[0])))
        parabola = minimum_of(runs)
        if math.isfinite(parabola.doubt):
            values = (parabola.log_N, parabola.doubt, parabola.log_loss)
            row |= _rounded(MEASURED, values)
        found.append(row)
    return found


def _columns(minima: object, number: int) -> list[float]:
    names = ("log_flops", "log_N", "error", "log_loss", "loss_error")
    return [float(getattr(minima, name)[number]) for name in names]


def _rounded(names: Iterable[str], values: Iterable[float]) -> dict[str, object]:
    return {name: round(value, 5) for name, value in zip(names, values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with TABLE.open("w") as lines:
        lines.write(HEADER)
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in SOURCES:
            with (folder / f"{name}.csv").open() as table:
                columns = ("params", "tokens", "loss", "flops", "compute_budget")
                rows = [[float(row[each]) for each in columns] for row in csv.DictReader(table)]
            writer.writerows(rows_of(name, Points.of([a_run(*row) for row in rows])))


if __name__ == "__main__":
    main()
