"""The cells of an IsoFLOP grid: real sizes around the optimum of each budget, and what repairs a budget at its edge."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from isoflop.counting.counting import SizeCount, count_size
from isoflop.counting.sizes import size_near, sizes_near
from isoflop.counting.tokens import TokenSupply
from isoflop.display.format import format_count, format_flops, join_words
from isoflop.errors import DataError, PlanError
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.fitting.default import law_of
from isoflop.laws.base import TOKENS_PER_PARAM, Law
from isoflop.planning.branches import on_lattice
from isoflop.planning.limits import Room, within
from isoflop.planning.passes import check_data
from isoflop.planning.specs import make_spec, paid_tokens
from isoflop.planning.stage import LEAST_STEPS
from isoflop.runs import Run, RunSpec
from isoflop.task import Task

__all__ = [
    "Centres",
    "Grid",
    "budget_sizes",
    "edge_sizes",
    "measured_runs",
    "with_repeats",
    "without_failed",
]

SIZES_PER_BUDGET = 7
SPREAD_UNKNOWN, SPREAD_KNOWN = 8.0, 4.0
"""Sizes of a budget span the guess times and divided by this; less once runs have been fitted."""

MIN_SIZES = 3
"""A parabola needs three points."""

NUM_BEYOND = 3
"""Sizes added beyond the edge at which a budget has its lowest loss."""

OVER_BUDGET = 1.5
"""Times a budget that a run may cost when its tokens are rounded to whole steps."""

NUM_SEEDS = 3
"""Runs of one cell that measure the noise between seeds."""


@dataclass(frozen=True)
class Centres:
    """Where the optimum of a budget is guessed to lie: by the law of earlier runs, else by tokens per param."""

    law: Law | None = None
    spread: float = SPREAD_UNKNOWN
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Centres":
        """Of the law of some runs, where they have two budgets or more."""
        if (
            len(
                {run.budget for run in runs if run.budget is not None and run.status == "completed"}
            )
            < 2
        ):
            return cls()
        try:
            law = law_of(runs)
        except DataError as error:
            return cls(
                notes=(
                    f"Sizes are centred on a guess, since the earlier runs show no law: {error}",
                )
            )
        return cls(
            law, SPREAD_KNOWN, ("Sizes are centred on the optimum that the earlier runs show.",)
        )

    def num_params(self, task: Task, budget: float) -> float:
        """N of the optimum at a budget, as far as it is known."""
        if self.law is not None:
            return float(self.law.optimum(budget)[0])
        guess = math.sqrt(budget / (6 * TOKENS_PER_PARAM))
        for _ in range(2):  # FLOPs per token are not 6N at small sizes, and depend on N
            near = size_near(task, guess)
            guess = math.sqrt(budget / (TOKENS_PER_PARAM * near.flops_per_token / near.num_params))
        return guess


@dataclass(frozen=True)
class Grid:
    """What the cells of a grid are made with, and what new ones must keep to.

    mark: the task's fingerprint.
    runs: all that were made so far.
    """

    task: Task
    supply: TokenSupply
    mark: str
    room: Room
    runs: Sequence[Run] = ()

    def spec(
        self, sized: SizeCount, budget: float, *, seed: int = 0, epochs: float | None = None
    ) -> RunSpec:
        """The run of a cell."""
        wanted = paid_tokens(self.task, sized, budget)
        return make_spec(
            self.task,
            self.supply,
            self.mark,
            sized,
            wanted,
            seed=seed,
            budget=budget,
            epochs=epochs,
        )

    @cached_property
    def failed(self) -> dict[Any, float]:
        """Sizes of which a run failed, at any budget, with their params."""
        return {
            run.size: run.spec.num_params
            for run in self.runs
            if run.status == "failed" and run.spec.fingerprint == self.mark
        }

    def has_data(self, sized: SizeCount, budget: float) -> bool:
        """True where the recipe's passes over the data give a run of the size its tokens."""
        try:
            check_data(self.task, self.supply, [self.spec(sized, budget)])
        except PlanError:
            return False
        return True

    def is_long(self, sized: SizeCount, budget: float) -> bool:
        """True where a run of the size takes enough steps to learn."""
        spec = self.spec(sized, budget)
        return (
            round(spec.num_tokens / ((spec.batch or 1) * self.supply.tokens_per_example))
            >= LEAST_STEPS
        )

    def keeps_budget(self, sized: SizeCount, budget: float) -> bool:
        """True where a run of the size costs about the budget, even if that is less than a whole step."""
        return self.spec(sized, budget).flops <= OVER_BUDGET * budget


def budget_sizes(grid: Grid, budget: float, centres: Centres, notes: list[str]) -> list[SizeCount]:
    """Sizes around the optimum of a budget; what is to be said of them goes to `notes`.

    Raises PlanError where there are fewer than three.
    """
    task = grid.task
    centre = centres.num_params(task, budget)
    if task.recipe.branches:
        centre = on_lattice(centre, centres.spread, SIZES_PER_BUDGET)
    wanted = np.geomspace(centre / centres.spread, centre * centres.spread, SIZES_PER_BUDGET)
    counts = sorted(sizes_near(task, wanted.tolist()), key=lambda sized: sized.num_params)
    if len(counts) < MIN_SIZES:
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes, but {task.size_param!r} has only {len(counts)} near "
            f"{format_count(centre)} params for budget {format_flops(budget)}; allow more sizes."
        )
    counts, left_out = within(grid.room, counts, MIN_SIZES)
    counts, useless = _useful(grid, counts, budget)
    told = [*centres.notes, *left_out, *useless]
    if counts[0].num_params > centre or counts[-1].num_params < centre:
        told.append(
            f"Budget {format_flops(budget)}: no size on one side of {format_count(centre)} params, where the optimum is guessed to "
            f"lie; the sizes run from {format_count(counts[0].num_params)} to {format_count(counts[-1].num_params)}."
        )
    told += [note for sized in counts for note in sized.notes]
    notes += [note for note in dict.fromkeys(told) if note not in notes]
    return counts


def _useful(
    grid: Grid, counts: Sequence[SizeCount], budget: float
) -> tuple[list[SizeCount], list[str]]:
    """The sizes that are worth a run at a budget, and notes on the others and on those that are hardly worth it.

    Raises PlanError where too few have not failed, or train long enough.
    """
    trained, failed = _split(
        counts, budget, lambda sized: sized.size not in grid.failed, "a run has failed"
    )
    if len(trained) < MIN_SIZES:
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes, but at budget {format_flops(budget)} only {len(trained)} of "
            f"{len(counts)} have not failed before; allow more sizes, or leave failed runs out of runs=."
        )
    useful, left_out = _split(
        trained,
        budget,
        lambda sized: grid.keeps_budget(sized, budget),
        "a single step costs far more",
    )
    short = [sized for sized in useful if not grid.is_long(sized, budget)]
    if len(useful) < MIN_SIZES or len(short) == len(useful):
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes and runs of {LEAST_STEPS} steps, but of {len(trained)} "
            f"sizes budget {format_flops(budget)} pays for one step of {len(useful)} and for {LEAST_STEPS} of "
            f"{len(useful) - len(short)}; raise the budget, or allow smaller sizes or batches."
        )
    return useful, [*failed, *left_out, *_short_notes(short, budget)]


def _short_notes(short: Sequence[SizeCount], budget: float) -> list[str]:
    """What is to be said of sizes that train for few steps."""
    names = join_words([str(sized.size) for sized in short])
    sizes = f"size {names} trains" if len(short) == 1 else f"sizes {names} train"
    few = f"Budget {format_flops(budget)}: {sizes} for fewer than {LEAST_STEPS} steps, which teach little"
    return [f"{few}; raise the budget, or take smaller batches."] if short else []


def _split(
    counts: Sequence[SizeCount], budget: float, keeps: Callable[[SizeCount], bool], why: str
) -> tuple[list[SizeCount], list[str]]:
    """The sizes that are kept, and a note on the others that says why."""
    kept = [sized for sized in counts if keeps(sized)]
    others = [str(sized.size) for sized in counts if sized not in kept]
    sizes = f"Size {others[0]} is" if len(others) == 1 else f"Sizes {join_words(others)} are"
    return kept, [f"{sizes} left out at budget {format_flops(budget)}: {why}."] if others else []


def measured_runs(grid: Grid, budget: float) -> list[Run]:
    """The runs at a budget that the task's recipe would ask for again; none where they have too few sizes for a curve.

    Runs of another task or recipe are no part of the task's grid.
    """

    def again(spec: RunSpec) -> bool:
        same = grid.spec(count_size(grid.task, spec.size), budget, seed=spec.seed)
        return same.id == spec.id or bool(
            grid.task.recipe.branches
        )  # branches get their settings together

    own = [
        run
        for run in grid.runs
        if run.budget == budget and run.spec.fingerprint == grid.mark and again(run.spec)
    ]
    return own if len({run.size for run in own}) >= MIN_SIZES else []


def edge_sizes(grid: Grid, budget: float, runs: Sequence[Run], notes: list[str]) -> list[SizeCount]:
    """Sizes that would bracket the minimum of a budget's runs if the lowest loss is at the edge; none where it is not.

    They go on from the edge in the steps of the sizes that are there, as far as memory and data allow; what is to be
    said of them goes to `notes`.
    """
    beyond = _beyond_edge(grid, runs)
    if beyond is None:
        return []
    fits = [sized for sized in beyond if grid.room.holds(sized)]
    told = [grid.room.left_out(sized) for sized in beyond if sized not in fits]
    few = "the recipe's passes over the data give too few tokens"
    found, lacking = _split(fits, budget, lambda sized: grid.has_data(sized, budget), few)
    few = f"a run of fewer than {LEAST_STEPS} steps teaches nothing"
    found, useless = _split(found, budget, lambda sized: grid.is_long(sized, budget), few)
    none = "no size beyond it can be added" if beyond else "there is no size beyond it to try"
    edge = (
        f"Budget {format_flops(budget)} has its lowest loss at the edge: sizes beyond it are added."
    )
    if not found:
        edge = f"Budget {format_flops(budget)} has its lowest loss at the edge: {none}."
    told = [edge, *told, *lacking, *useless]
    told += [note for sized in found for note in sized.notes]
    notes += [note for note in told if note not in notes]
    return found


def _beyond_edge(grid: Grid, runs: Sequence[Run]) -> list[SizeCount] | None:
    """Sizes beyond the edge at which a budget's runs have their lowest loss; None where they do not."""
    found = valleys(runs)
    if not found or found[0].interior:
        return None
    tried = sorted({run.num_params for run in runs})
    losses = {run.num_params: run.loss for run in found[0].runs}
    best = min(losses, key=lambda N: losses[N])
    low, high = min(losses), max(losses)
    if best not in (low, high):
        return None
    step = (tried[-1] / tried[0]) ** (1 / (len(tried) - 1))
    beyond = step if best == high else 1 / step

    def is_new(sized: SizeCount) -> bool:
        return (sized.num_params > high or sized.num_params < low) and not _near_failed(
            grid, sized.num_params, step
        )

    wanted = [
        N for k in range(1, NUM_BEYOND + 1) if not _near_failed(grid, N := best * beyond**k, step)
    ]
    return sorted(filter(is_new, sizes_near(grid.task, wanted)), key=lambda sized: sized.num_params)


def _near_failed(grid: Grid, num_params: float, step: float) -> bool:
    """True within half a step of a size that failed: another one beside it would only fail again."""
    return any(
        abs(math.log(num_params / failed)) < 0.5 * math.log(step) for failed in grid.failed.values()
    )


def without_failed(
    specs: Sequence[RunSpec], runs: Sequence[Run], notes: list[str]
) -> list[RunSpec]:
    """The specs whose run has not failed; `notes` gets how many others there were."""
    failed = {run.id for run in runs if run.status == "failed"}
    kept = [spec for spec in specs if spec.id not in failed]
    if left := len(specs) - len(kept):
        what, them = (
            ("1 run that failed is", "it")
            if left == 1
            else (f"{left} runs that failed are", "them")
        )
        notes.append(f"{what} not planned again; leave {them} out of runs= to try {them} again.")
    return kept


def with_repeats(specs: Sequence[RunSpec], runs: Sequence[Run], notes: list[str]) -> list[RunSpec]:
    """The specs, with one cell of them under further seeds, so that three runs of it show the noise.

    The cell is the one that the runs made have so, else the middle size of the cheapest budget; none where they have
    repeated one that is not among the specs.
    """
    if not specs:
        return []
    seeds: dict[str, set[int]] = {}
    for spec in [*specs, *(run.spec for run in runs)]:
        seeds.setdefault(_cell(spec), set()).add(spec.seed)
    repeated = [spec for spec in specs if len(seeds[_cell(spec)]) >= NUM_SEEDS]
    if not repeated and max(map(len, seeds.values())) >= NUM_SEEDS:
        return list(specs)
    chosen = repeated[0] if repeated else _middle(specs)
    wanted = sorted(seeds[_cell(chosen)])
    wanted += [seed for seed in range(2 * NUM_SEEDS) if seed not in wanted][
        : max(NUM_SEEDS - len(wanted), 0)
    ]
    more = [replace(chosen, seed=seed) for seed in wanted]
    more = [spec for spec in without_failed(more, runs, []) if spec not in specs]
    if {spec.id for spec in more} - {run.id for run in runs}:
        notes.append(
            f"Size {chosen.size} at {format_flops(chosen.budget or chosen.flops)} FLOPs is trained with {len(wanted)} seeds, "
            f"to measure the noise."
        )
    place = specs.index(chosen) + 1
    return [*specs[:place], *more, *specs[place:]]


def _cell(spec: RunSpec) -> str:
    """What specs have in common that differ in their seed alone."""
    return replace(spec, seed=0).id


def _middle(specs: Sequence[RunSpec]) -> RunSpec:
    """The middle size of the cheapest budget."""
    cheapest = min(spec.budget or math.inf for spec in specs)
    cells = sorted(
        (spec for spec in specs if spec.budget == cheapest), key=lambda spec: spec.num_params
    )
    return cells[len(cells) // 2]
