"""Which learning rates the default call ends up with, against the best ones of each size.

    OMP_NUM_THREADS=1 python benchmarks/training/default_rates.py [--seeds 3] [--write]

The two image models that no start was fitted to, `examples/models/cnn.py` and
`examples/models/vit.py`, are planned, checked, tuned where the check asks for it, and trained as
`find_optimal` does with nothing but a target and a spend. The rule that its runs were trained by is
then compared with the best rates of three sizes, from the search of `starts.py` with up to four
times its two seeds where the best is unsure. Runs are kept in a store, so that a stopped program
goes on where it was.
"""

import argparse
import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from starts import FAMILIES, Family, Row, given_up, rows_of, seeds_in, task_of  # it finds examples

import isoflop
from data.teacher_images import TeacherImages
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count, format_number
from isoflop.planning.question import sweep_question
from isoflop.stages import train_stages
from isoflop.training.runner import open_store

COMMAND = "OMP_NUM_THREADS=1 python benchmarks/training/default_rates.py --seeds {} --write"
RESULTS = Path(__file__).parents[1] / "results" / "training-default-rates.md"
TARGET, SPEND = 1e13, 1e12
NUM_IMAGES = 120_000
NAMES = ("examples/models/cnn.py", "examples/models/vit.py")


@lru_cache
def enough_images() -> TeacherImages:
    """Of the task's teacher, as many as one pass of most runs needs."""
    return TeacherImages(NUM_IMAGES, seed=0)


def default_call(family: Family, seed: int, store: Path) -> tuple[isoflop.Recipe, bool]:
    """The recipe that the default call trained its sweep by, and whether its rates were tuned."""
    recipe = isoflop.Recipe(seeds=(seed,))
    task = replace(task_of(family), sizes=None, recipe=recipe, train_data=enough_images())
    question = sweep_question(target=TARGET, spend=SPEND)
    trained = train_stages(task, question, store=open_store(store), data_workers=0, tune="auto")
    is_tuned = any(note.code == "rates-tuned" for note in trained.notes)
    return sizes_of(trained.task).recipe, is_tuned


def lines_of(rows: Sequence[Row], seed: int, store: Path) -> list[str]:
    recipe, is_tuned = default_call(rows[0].family, seed, store)
    lines = []
    for row in rows:
        rate = recipe.peak_lr(*row.at)
        columns = (
            row.family.kind,
            str(seed),
            "yes" if is_tuned else "no",
            *map(format_count, row.at),
            str(seeds_in(row.family, row.cell)),
            f"{format_number(row.best.value, 2)} ×/÷ {row.best.factor_90:.2f}",
            format_number(rate, 2),
            f"{rate / row.best.value:.2f}",
            f"{given_up(row.cell, rate):.3f}",
        )
        lines.append(f"| {' | '.join(columns)} |")
    return lines


HEAD = (
    "| kind | seed | tuned | params | images | seeds | best rate (90 %) | default's rate "
    "| over best | loss given up |\n" + "|---" * 10 + "|"
)


def report(lines: Sequence[str], seeds: int) -> str:
    made = datetime.date.today().isoformat()
    machine = f"{platform.machine()}, one thread of {os.cpu_count()} cores"
    return (
        "# The learning rates of the default call\n\n"
        f"`{COMMAND.format(seeds)}`, {made}, {machine}, torch {torch.__version__}.\n\n"
        f"A target of {TARGET:g} FLOPs and a spend of {SPEND:g}; loss given up is in nats.\n\n"
        + "\n".join([HEAD, *lines, ""])
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--write", action="store_true", help="write the table of results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    for family in (each for each in FAMILIES if each.name in given.only):
        rows = rows_of(family, given.store / "starts")
        for seed in range(given.seeds):
            store = given.store / "default_rates" / f"{Path(family.name).stem}-{seed}"
            lines += lines_of(rows, seed, store)
            print(*lines[-len(rows) :], sep="\n", flush=True)
    print(report(lines, given.seeds))
    if given.write:
        RESULTS.write_text(report(lines, given.seeds))


if __name__ == "__main__":
    main()
