"""Is the answer right? Small runs predict the best size and loss at seven times their compute.

    python benchmarks/closing_the_loop.py [--store runs/closing_the_loop] [--workers 2] [--write]

The demo's sweep with three seeds, 2e10 to 1.4e11 FLOPs, and the sizes around the predicted one at
1e12 FLOPs, trained to check the prediction. Resumes where it was stopped. About ten minutes on two
idle cores.
"""

import argparse
import datetime
import math
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import isoflop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from python_source_gpt import BUDGETS, demo_task  # noqa: E402

TARGET = 1e12
SIZES = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
RESULTS = ROOT / "benchmarks" / "results" / "training-closing-the-loop.md"


def task_of(seeds: tuple[int, ...]) -> isoflop.Task:
    return replace(demo_task(), sizes=SIZES, recipe=isoflop.Recipe(seeds=seeds, epochs=None))


def neighbours(task: isoflop.Task, size: int) -> isoflop.Sweep:
    """The runs at the target with the predicted size and the ones beside it."""
    middle = SIZES.index(size)
    near = replace(
        task, sizes=SIZES[max(0, middle - 1) : middle + 2], recipe=replace(task.recipe, seeds=(0,))
    )
    return isoflop.plan(near, budgets=[TARGET])


def measured(runs: list[isoflop.Run]) -> tuple[float, float, bool]:
    """Best N and loss of the target's curve, and whether the minimum lies inside it.

    By the parabola through its three lowest runs.
    """
    best = sorted(runs, key=lambda run: run.loss)[:3]
    x, y = np.log([run.num_params for run in best]), np.array([run.loss for run in best])
    inside = min(x) < math.log(best[0].num_params) < max(x)
    if not inside:
        return best[0].num_params, best[0].loss, False
    a, b, c = np.polyfit(x - x.mean(), y, 2)
    return math.exp(x.mean() - b / (2 * a)), c - b**2 / (4 * a), True


def report(answer: isoflop.Optimum, runs: list[isoflop.Run]) -> str:
    num_params, lowest, inside = measured(runs)
    rows = [
        ["", "predicted", "90 % interval", "trained", "error"],
        ["---"] * 5,
        [
            "params",
            f"{answer.num_params.value:,.0f}",
            f"{answer.num_params.low:,.0f} to {answer.num_params.high:,.0f}",
            f"{num_params:,.0f}" + ("" if inside else " (at the edge of the sizes trained)"),
            f"{answer.num_params.value / num_params - 1:+.1%}",
        ],
    ]
    if answer.loss is not None:
        rows.append(
            [
                "loss",
                f"{answer.loss.value:.4f}",
                f"{answer.loss.low:.4f} to {answer.loss.high:.4f}",
                f"{lowest:.4f}",
                f"{answer.loss.value / lowest - 1:+.2%}",
            ]
        )
    best = min(runs, key=lambda run: run.loss)
    chosen = next((run for run in runs if run.size == answer.size), None)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines += [
        "",
        f"Best width trained {best.size} (loss {best.loss:.4f}); width predicted {answer.size}",
    ]
    if chosen is not None:
        lines[-1] += f" (loss {chosen.loss:.4f}, {chosen.loss / best.loss - 1:.2%} above the best)."
    losses = ", ".join(
        f"{run.size}: {run.loss:.4f}" for run in sorted(runs, key=lambda run: run.num_params)
    )
    return "\n".join([*lines, "", f"Loss by width at {TARGET:.0e} FLOPs: {losses}."])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--store", type=Path, default=ROOT / "runs" / "closing_the_loop")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    task = task_of(seeds=(0, 1, 2))
    executor = isoflop.Processes(given.workers)
    sweep = isoflop.plan(task, budgets=BUDGETS)
    runs = isoflop.train(task, sweep, store=given.store, executor=executor)
    fit = isoflop.fit(runs)
    answer = isoflop.predict(fit, flops=TARGET, task=task)
    print(answer, flush=True)
    truth = isoflop.train(task, neighbours(task, answer.size), store=given.store, executor=executor)
    text = report(answer, truth)
    print(text)
    if given.write:
        machine = (
            f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}"
        )
        head = (
            f"# Closing the loop\n\n{datetime.date.today()}, {machine}. "
            "`python benchmarks/closing_the_loop.py --write`"
        )
        spent = (
            f"Sweep: {len(runs)} runs at {len(BUDGETS)} budgets, {sweep.flops:.2e} FLOPs; "
            "seeds 0, 1, 2."
        )
        RESULTS.write_text(f"{head}\n\n{spent}\n\n{text}\n\n```\n{answer}\n```\n")


if __name__ == "__main__":
    main()
