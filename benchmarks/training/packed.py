"""What train(packed=True) gains on a CPU: tiny runs in one program against one after the other.

    python benchmarks/training/packed.py [--widths 8 16 32 64] [--rounds 5] [--write]

Whole calls of train(), on one thread. Both ways take turns in one process, so that load falls on
both alike.
"""

import argparse
import datetime
import platform
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import isoflop

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks" / "gpu")]
from gpu_tasks import byte_task, with_steps  # noqa: E402
from scale import FULL  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "training-packed.md"
NUM_RUNS, BATCH, STEPS = 8, 4, {8: 160, 16: 150, 32: 120, 64: 80}
NOTE = (
    "Runs whose loss jumps enlarge rounding, packed or not: trained alone from weights multiplied "
    "by 1 + 1.2e-7, a run of width 64 ended 2e-3 away."
)
SCALE = replace(FULL, num_windows=100_000, eval_tokens=2**14)


def sweep_of(task: isoflop.Task, width: int) -> isoflop.Sweep:
    """Runs of one size that differ in their seed."""
    planned = isoflop.plan(task, budgets=[1e10])
    specs = [with_steps(spec, BATCH, STEPS[width]) for spec in planned.specs if spec.size == width]
    return replace(planned, specs=tuple(specs))


def compare(width: int, num_rounds: int) -> list[str]:
    """One row: seconds of a call each way, what a step takes, and how far losses differ."""
    task = byte_task(SCALE, (width // 2, width, 2 * width), seeds=tuple(range(NUM_RUNS)))
    sweep = sweep_of(task, width)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    steps: dict[bool, list[float]] = {False: [], True: []}
    losses: dict[bool, list[float]] = {}
    for turn in range(num_rounds + 1):
        for packed in (False, True):
            began = time.perf_counter()
            runs = isoflop.train(
                task, sweep, store=isoflop.MemoryStore(), packed=packed, progress=False
            )
            assert all(run.status == "completed" for run in runs)
            assert all(("packed" in run.versions) == packed for run in runs)
            losses[packed] = [run.loss for run in runs]
            if turn:  # the first warms up
                seconds[packed].append(time.perf_counter() - began)
                steps[packed].append(sum(run.seconds for run in runs) / STEPS[width])
    off = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    return [
        str(width),
        f"{sweep.specs[0].num_params:,.0f}",
        *(f"{1e3 * min(steps[packed]):.1f}" for packed in (False, True)),
        ratio(steps),
        *(f"{min(seconds[packed]):.2f}" for packed in (False, True)),
        f"**{ratio(seconds)}**",
        f"{off:.0e}",
    ]


def ratio(times: dict[bool, list[float]]) -> str:
    """Median of the rounds' ratios, and their range."""
    ratios = sorted(a / b for a, b in zip(times[False], times[True], strict=True))
    return f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="the table into benchmarks/results")
    given = parser.parse_args()
    header = [
        "width",
        "params",
        "ms a step of all, one after the other",
        "packed",
        "gain",
        "s a call, one after the other",
        "packed",
        "gain",
        "largest difference of final losses",
    ]
    rows = [header, ["---"] * len(header)]
    for width in given.widths:
        rows.append(compare(width, given.rounds))
        print(rows[-1], flush=True)
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    text = (
        f"# Tiny runs in one program\n\n{datetime.date.today()}, {platform.machine()}, no GPU, "
        f"torch {torch.__version__}, one thread. `python benchmarks/training/packed.py --write`\n\n"
        f"`train(packed=True)` against `train()`: {NUM_RUNS} GPTs of two layers that differ in "
        f"their seed, {BATCH} sequences of 64 bytes a step each, {STEPS[64]} to {STEPS[8]} steps. "
        f"A call includes the start of the runs, the trial step of a pack and the held-out losses "
        f"({SCALE.eval_tokens:,} bytes), which are not packed. Median of {given.rounds} rounds "
        f"(range); the milliseconds and seconds are of the best round.\n\n{table}\n\n"
        f"{NOTE}\n"
    )
    print(text)
    if given.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
