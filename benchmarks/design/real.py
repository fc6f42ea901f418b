"""A grid against isoflop's design on real training: distance from the best size at a target.

    python benchmarks/design/real.py [--store runs/design_real] [--workers 1]

grid + IsoFLOP  three budgets three times apart, seven sizes each, answered by a parabola per budget
grid + default  the same runs, answered by isoflop's default fit
small grid      the same sizes and ratios for 2.2e10 FLOPs in all, by isoflop's default fit
lean            what isoflop.plan(target=, spend=) chooses for models this small: four budgets of
                five sizes, each centred on the one before
sequential      what it chooses for larger models, stage by stage, until the next stage is not worth
                its cost
unstopped       the same until the spend is used, for at this target a stage soon costs more than it
                can save

The model and the data are the demo's. The truth is the target budget itself, trained at seven sizes
with two seeds: the parabola through their mean losses. Resumes where it was stopped.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import isoflop
from isoflop.counting.sizes import Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count, format_flops, format_percent, join_words
from isoflop.errors import DataError
from isoflop.laws.base import Array
from isoflop.planning.candidates import Place
from isoflop.planning.earlier_runs import paid
from isoflop.planning.ladder import ladder_of
from isoflop.planning.limits import room_on
from isoflop.planning.question import sweep_question
from isoflop.planning.sequential import next_stage
from isoflop.planning.specs import make_spec
from isoflop.stages import train_stages
from isoflop.storage.store import Store
from isoflop.training.runner import Executor, open_store

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "fitting"), str(ROOT / "examples")]
from tables import markdown, write  # noqa: E402

from python_source_gpt import demo_task  # noqa: E402

TARGET, SPEND = 4e11, 1.5e11
SEEDS = (0, 1, 2)
WIDTHS = [4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128]
TRUTH_WIDTHS = [16, 20, 26, 34, 42, 54, 66]
"""About x/÷4 of 38k params.

The best size at 1e12 FLOPs (closing_the_loop.py), by the square root of compute.
"""
TRUTH_SEEDS = (10, 11)
SMALL = 2.2e10
"""What the sequential sweeps of two of the three seeds used before they ended."""


@dataclass(frozen=True)
class Truth:
    """Losses at the target by size, and their parabola in log N."""

    num_params: Array
    losses: Array
    """Shape (sizes, seeds)."""

    @property
    def parabola(self) -> Array:
        return np.polyfit(np.log(self.num_params), self.losses.mean(axis=1), 2)

    @property
    def best(self) -> float:
        return vertex(self.parabola)

    @property
    def best_of_each_seed(self) -> list[float]:
        return [
            vertex(coefficients)
            for coefficients in np.polyfit(np.log(self.num_params), self.losses, 2).T
        ]

    def excess(self, num_params: float) -> float:
        """Share by which the loss of a size is above the best one's."""
        at = np.polyval(self.parabola, np.log([num_params, self.best]))
        return float(at[0] / at[1] - 1)


def vertex(parabola: Array) -> float:
    """N at the minimum of a parabola in log N."""
    bend, slope, _ = parabola
    return math.exp(-slope / (2 * bend))


def task_of(seeds: tuple[int, ...], widths: list[int]) -> isoflop.Task:
    return replace(demo_task(), sizes=widths, recipe=isoflop.Recipe(seeds=seeds, epochs=None))


def truth(store: Store, executor: Executor) -> Truth:
    task = task_of(TRUTH_SEEDS, TRUTH_WIDTHS)
    sweep = isoflop.plan(task, budgets=[TARGET], check_rates=None)
    runs = isoflop.train(task, sweep, store=store, executor=executor)
    runs = [run for run in runs if run.spec.seed in TRUTH_SEEDS]  # without those for the noise
    losses = {
        run.num_params: [one.loss for one in runs if one.num_params == run.num_params]
        for run in runs
    }
    N = sorted(losses)
    return Truth(np.array(N, float), np.array([losses[one] for one in N]))


def grid(
    task: isoflop.Task, store: Store, executor: Executor, *, spend: float = SPEND
) -> list[isoflop.Run]:
    budgets = [spend / 7 / (1 + 1 / 3 + 1 / 9) / 3**k for k in (2, 1, 0)]
    sweep = isoflop.plan(task, budgets=budgets, check_rates=None)
    return list(isoflop.train(task, sweep, store=store, executor=executor))


def staged(
    task: isoflop.Task, store: Store, executor: Executor, *, design: str
) -> list[isoflop.Run]:
    question = sweep_question(target=TARGET, spend=SPEND, design=design, check_rates=None)
    found = train_stages(task, question, store=store, executor=executor)
    print(*found.notes, sep="\n", flush=True)
    return found.runs


def unstopped(task: isoflop.Task, store: Store, executor: Executor) -> list[isoflop.Run]:
    sizes, runs = sizes_of(task), dict[str, isoflop.Run]()
    while True:
        ladder = ladder_of(
            sizes, sizes.supply, spend=SPEND, runs=[*runs.values()], room=room_on(None)
        )
        stage = next_stage([*runs.values()], ladder, target=TARGET, spend=SPEND, stop=False)
        specs = [spec_at(sizes, place, ladder.size(place)) for place in stage.places]
        new = tuple(spec for spec in specs if spec.id not in runs)
        if not new:
            return list(runs.values())
        runs |= {
            run.id: run
            for run in isoflop.train(task, isoflop.Sweep(specs=new), store=store, executor=executor)
        }


def spec_at(sizes: Sizes, place: Place, size: object) -> isoflop.RunSpec:
    sized = sizes.count(size)
    return make_spec(
        sizes,
        sizes.supply,
        sizes.fingerprint,
        sized,
        place.flops / sized.flops_per_token,
        seed=sizes.recipe.seeds[0],
        budget=place.budget,
    )


METHODS = {
    "grid + IsoFLOP": (grid, isoflop.IsoFLOP()),
    "grid + default": (grid, isoflop.Bayesian()),
    "small grid": (partial(grid, spend=SMALL), isoflop.Bayesian()),
    "lean": (partial(staged, design="lean"), isoflop.Bayesian()),
    "sequential": (partial(staged, design="sequential"), isoflop.Bayesian()),
    "unstopped": (unstopped, isoflop.Bayesian()),
}


def outcomes(
    found: Truth, store: Store, executor: Executor
) -> Iterator[tuple[str, int, list[isoflop.Run], list[str]]]:
    """Method, seed, runs, and what it chose with its error and what that costs."""
    for seed in SEEDS:
        task = task_of((seed,), WIDTHS)
        for name, (make, approach) in METHODS.items():
            runs = make(task, store, executor)
            yield name, seed, runs, chosen(found, task, runs, approach)


def chosen(
    found: Truth, task: isoflop.Task, runs: list[isoflop.Run], approach: object
) -> list[str]:
    try:
        fitted = isoflop.fit(runs, approach)  # type: ignore[arg-type]
        N = isoflop.predict(fitted, flops=TARGET, task=task).num_params
    except DataError as error:
        return [f"none: {error}", *[""] * 4]
    inside = found.num_params[0] <= N.value <= found.num_params[-1]
    excess = format_percent(found.excess(N.value)) + (
        "" if inside else " (beyond the sizes trained)"
    )
    covered = "yes" if N.low <= found.best <= N.high else "no"
    error = f"{abs(math.log(N.value / found.best)):.2f}"
    return [
        format_count(N.value),
        error,
        f"{format_count(N.low)} to {format_count(N.high)}",
        covered,
        excess,
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--store", type=Path, default=ROOT / "runs" / "design_real")
    arguments.add_argument("--workers", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    store = open_store(given.store)
    executor = isoflop.InProcess() if given.workers == 1 else isoflop.Processes(given.workers)
    found = truth(store, executor)
    rows = []
    for name, seed, runs, cells in outcomes(found, store, executor):
        rows.append([name, seed, len(runs), format_flops(sum(paid(run) for run in runs)), *cells])
        print(*rows[-1], sep="  ", flush=True)
    head = [
        "method",
        "seed",
        "runs",
        "FLOPs used",
        "N chosen",
        "log N error",
        "90 % interval",
        "covers",
    ]
    write(
        "design-real.md",
        "A grid against isoflop's design on real training",
        "python benchmarks/design/real.py",
        "```\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n```",
        f"Target {format_flops(TARGET)} FLOPs, spend {format_flops(SPEND)} FLOPs in all "
        f"({format_percent(SPEND / TARGET)} of the target).",
        "## What each chose",
        markdown([*head, "loss above the best"], rows),
        summary(rows, found),
        f"## The truth: {format_flops(TARGET)} FLOPs",
        f"The best size has {format_count(found.best)} params; by each seed alone "
        f"{join_words([format_count(N) for N in found.best_of_each_seed])}.",
        truth_table(found),
    )


def summary(rows: list[list[object]], found: Truth) -> str:
    """Mean error of each method, where all its seeds chose."""
    means = []
    for name in METHODS:
        errors = [str(row[5]) for row in rows if row[0] == name]
        mean = f"{np.mean([float(one) for one in errors]):.2f}" if all(errors) else "not all chose"
        means.append(f"{name} {mean}")
    spread = format_percent(float(np.max(np.ptp(found.losses, axis=1) / found.losses.mean(axis=1))))
    return (
        f"Mean log N error over {len(SEEDS)} seeds: {', '.join(means)}. Means of three that differ "
        "by less than a factor of two cannot be distinguished, and the truth itself is uncertain: "
        f"losses of one size differ between seeds by up to {spread}."
    )


def truth_table(found: Truth) -> str:
    fitted = np.polyval(found.parabola, np.log(found.num_params))
    rows = [
        [width, format_count(N), *(f"{loss:.4f}" for loss in losses), f"{by_parabola:.4f}"]
        for width, N, losses, by_parabola in zip(
            TRUTH_WIDTHS, found.num_params, found.losses, fitted, strict=True
        )
    ]
    return markdown(
        ["width", "params", *(f"loss, seed {seed}" for seed in TRUTH_SEEDS), "parabola"], rows
    )


if __name__ == "__main__":
    main()
