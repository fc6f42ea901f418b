"""Small models: how well are a byte-level GPT of 10k to 100k params and its loss forecast?

    python benchmarks/fitting/small.py [--store runs/small] [--processes 1]

The demo's model and data, whose three budgets are followed by three larger ones with the four sizes
nearest to what is forecast there. Every three, four or five adjacent budgets, from the smallest on,
forecast the later ones, as in held_out.py. About half an hour on one core; resumes where it was
stopped.
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import isoflop
from isoflop.fitting.bayesian.minima import Minima, find_minima
from isoflop.laws.points import Points

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from tables import markdown, write

from python_source_gpt import BUDGETS, demo_task

LARGER = (4.2e11, 1.26e12, 4.2e12)
NUM_SIZES = 4
WIDTHS = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def the_task() -> isoflop.Task:
    return replace(demo_task(), sizes=WIDTHS)


def trained(store: Path, processes: int) -> list[isoflop.Run]:
    task = the_task()
    executor = isoflop.Processes(processes) if processes > 1 else isoflop.InProcess()
    runs = isoflop.train(task, isoflop.plan(task, budgets=BUDGETS), store=store, executor=executor)
    for budget in LARGER:
        forecast = isoflop.predict(isoflop.fit(runs), flops=budget).num_params.value
        sweep = isoflop.plan(task, budgets=[budget], runs=runs)
        nearest = sorted(sweep.specs, key=lambda spec: abs(math.log(spec.num_params / forecast)))
        chosen = replace(sweep, specs=tuple(nearest[:NUM_SIZES]))
        runs += isoflop.train(task, chosen, store=store, executor=executor)
    return runs


def forecasts(runs: list[isoflop.Run], minima: Minima) -> list[list[object]]:
    budgets = sorted({run.spec.budget for run in runs})
    rows = []
    for seen in range(3, len(budgets)):
        fit = isoflop.fit([run for run in runs if run.spec.budget in budgets[:seen]])
        for number in range(seen, len(budgets)):
            found = isoflop.predict(fit, flops=math.exp(minima.log_flops[number]))
            measured = (math.exp(minima.log_N[number]), math.exp(minima.log_loss[number]))
            rows.append(
                [seen, f"{budgets[number] / budgets[seen - 1]:.0f}x", *compared(found, *measured)]
            )
    return rows


def compared(found: isoflop.Optimum, N: float, loss_there: float) -> list[object]:
    assert found.loss is not None
    cells: list[object] = []
    for value, estimate in ((N, found.num_params), (loss_there, found.loss)):
        inside = "yes" if estimate.low <= value <= estimate.high else "no"
        error = math.log(estimate.value / value)
        cells += [
            f"{100 * error:+.1f} %",
            f"x/÷{math.sqrt(estimate.high / estimate.low):.2f}",
            inside,
        ]
    return cells


def valleys(minima: Minima) -> list[list[object]]:
    fall: list[float | None] = [
        None,
        *(np.diff(minima.log_loss) / np.diff(minima.log_flops)).tolist(),
    ]
    return [
        [
            f"{math.exp(c):.2g}",
            f"{math.exp(x) / 1e3:.1f}k",
            f"{100 * e:.0f} %",
            f"{math.exp(v):.3f}",
            "" if f is None else f"{f:.3f}",
        ]
        for c, x, e, v, f in zip(
            *(minima.log_flops, minima.log_N, minima.error, minima.log_loss), fall, strict=True
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("runs/small"))
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    runs = trained(given.store, given.processes)
    minima = find_minima(Points.of(runs))
    head = [
        "budgets seen",
        "beyond",
        "N error",
        "N interval",
        "N inside",
        "loss error",
        "loss interval",
        "loss inside",
    ]
    write(
        "fitting-small.md",
        "Small models",
        "python benchmarks/fitting/small.py",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        "Errors are those of the logarithm; intervals are of 90 %. The log loss falls faster and "
        "faster with compute up to 1e12 FLOPs, as in no sweep of larger models: a prior learned "
        "from those alone forecasts 1.58 for the last budget from the first three, and at least "
        "1.49.",
        markdown(
            ["FLOPs", "best params", "error", "loss", "change of log loss per unit of log C"],
            valleys(minima),
        ),
        markdown(head, forecasts(runs, minima)),
    )


if __name__ == "__main__":
    main()
