"""The cells of an IsoFLOP grid: real sizes around the optimum of each budget, and what repairs a budget at its edge."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop.errors import PlanError
from isoflop.fitting.fit import fit
from isoflop.fitting.isoflop import valleys
from isoflop.planning.branches import on_lattice
from isoflop.planning.ladder import TOKENS_PER_PARAM
from isoflop.planning.limits import Room, within
from isoflop.planning.sizing import SizeCount, count_size, size_near, sizes_near
from isoflop.planning.specs import make_spec
from isoflop.planning.tokens import TokenSupply
from isoflop.runs import Run, RunSpec
from isoflop.task import Task
from isoflop.text import count, flops

__all__ = ["Centres", "budget_sizes", "edge_sizes", "measured_runs", "with_repeats"]

SIZES_PER_BUDGET = 7
SPREAD_UNKNOWN, SPREAD_KNOWN = 8.0, 4.0
"""Sizes of a budget span the guess times and divided by this; less once runs have been fitted."""

MIN_RESAMPLES = 20
"""Only the law itself is wanted where sizes are centred on it."""

MIN_SIZES = 3
"""A parabola needs three points."""

NUM_BEYOND = 3
"""Sizes added beyond the edge at which a budget has its lowest loss."""

NUM_SEEDS = 3
"""Runs of one cell that measure the noise between seeds."""


@dataclass(frozen=True)
class Centres:
    """Where the optimum of a budget is guessed to lie: by the law of earlier runs, else by tokens per param."""

    law: Any = None
    spread: float = SPREAD_UNKNOWN
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Centres":
        """Of the law of some runs, where they have two budgets or more."""
        if len({run.budget for run in runs if run.budget is not None and run.status == "completed"}) < 2:
            return cls()
        law = fit(runs, resamples=MIN_RESAMPLES).law
        return cls(law, SPREAD_KNOWN, ("Sizes are centred on the optimum that the earlier runs show.",))

    def num_params(self, task: Task, budget: float) -> float:
        """N of the optimum at a budget, as far as it is known."""
        if self.law is not None:
            return float(self.law.optimum(budget)[0])
        guess = math.sqrt(budget / (6 * TOKENS_PER_PARAM))
        for _ in range(2):  # FLOPs per token are not 6N at small sizes, and depend on N
            near = size_near(task, guess)
            guess = math.sqrt(budget / (TOKENS_PER_PARAM * near.flops_per_token / near.num_params))
        return guess


def budget_sizes(task: Task, budget: float, centres: Centres, room: Room, notes: list[str]) -> list[SizeCount]:
    """Sizes around the optimum of a budget; what is to be said of them goes to `notes`.

    Raises PlanError where there are fewer than three.
    """
    centre = centres.num_params(task, budget)
    if task.recipe.branches:
        centre = on_lattice(centre, centres.spread, SIZES_PER_BUDGET)
    wanted = np.geomspace(centre / centres.spread, centre * centres.spread, SIZES_PER_BUDGET)
    counts = sorted(sizes_near(task, wanted.tolist()), key=lambda sized: sized.num_params)
    if len(counts) < MIN_SIZES:
        raise PlanError(
            f"An IsoFLOP curve needs at least {MIN_SIZES} sizes, but {task.size_param!r} has only {len(counts)} near "
            f"{count(centre)} params for budget {flops(budget)}; allow more sizes."
        )
    counts, left_out = within(room, counts, MIN_SIZES)
    notes += [note for note in left_out if note not in notes]
    if counts[0].num_params > centre or counts[-1].num_params < centre:
        notes.append(
            f"Budget {flops(budget)}: no size on one side of {count(centre)} params, where the optimum is guessed to "
            f"lie; the sizes run from {count(counts[0].num_params)} to {count(counts[-1].num_params)}."
        )
    notes += [note for sized in counts for note in sized.notes if note not in notes]
    return counts


def measured_runs(task: Task, supply: TokenSupply, mark: str, budget: float, runs: Sequence[Run]) -> list[Run]:
    """The runs at a budget that the task's recipe would ask for again; none where they have too few sizes for a curve.

    mark: the task's fingerprint; runs of another task or recipe are no part of its grid.
    """

    def again(spec: RunSpec) -> bool:
        sized = count_size(task, spec.size)
        same = make_spec(task, supply, mark, sized, budget / sized.flops_per_token, seed=spec.seed, budget=budget)
        return same.id == spec.id or bool(task.recipe.branches)  # branches get their settings together

    own = [run for run in runs if run.budget == budget and run.spec.fingerprint == mark and again(run.spec)]
    return own if len({run.size for run in own}) >= MIN_SIZES else []


def edge_sizes(task: Task, runs: Sequence[Run]) -> list[SizeCount]:
    """Sizes that would bracket the minimum of a budget's runs if the lowest loss is at the edge; none where it is not.

    They go on from the edge in the steps of the sizes that are there.
    """
    found = valleys(runs)
    if not found or found[0].interior:
        return []
    tried = sorted({run.num_params for run in runs})
    losses = {run.num_params: run.loss for run in found[0].runs}
    best = min(losses, key=lambda N: losses[N])
    low, high = min(losses), max(losses)
    if best not in (low, high):
        return []
    step = (tried[-1] / tried[0]) ** (1 / (len(tried) - 1))
    beyond = step if best == high else 1 / step
    wanted = [best * beyond**k for k in range(1, NUM_BEYOND + 1)]
    outside = (near for near in sizes_near(task, wanted) if near.num_params > high or near.num_params < low)
    return sorted(outside, key=lambda sized: sized.num_params)


def with_repeats(specs: Sequence[RunSpec], runs: Sequence[Run], notes: list[str]) -> list[RunSpec]:
    """The specs, with one cell of them under further seeds, so that three runs of it show the noise.

    The cell is the one that the runs made have so, else the middle size of the cheapest budget; none where they have
    repeated one that is not among the specs.
    """
    seeds: dict[str, set[int]] = {}
    for spec in [*specs, *(run.spec for run in runs)]:
        seeds.setdefault(_cell(spec), set()).add(spec.seed)
    repeated = [spec for spec in specs if len(seeds[_cell(spec)]) >= NUM_SEEDS]
    if not repeated and max(map(len, seeds.values())) >= NUM_SEEDS:
        return list(specs)
    chosen = repeated[0] if repeated else _middle(specs)
    wanted = sorted(seeds[_cell(chosen)])
    wanted += [seed for seed in range(2 * NUM_SEEDS) if seed not in wanted][: max(NUM_SEEDS - len(wanted), 0)]
    more = [replace(chosen, seed=seed) for seed in wanted]
    more = [spec for spec in more if spec not in specs]
    if more:
        notes.append(
            f"Size {chosen.size} at {flops(chosen.budget or chosen.flops)} FLOPs is trained with {len(wanted)} seeds, "
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
    cells = sorted((spec for spec in specs if spec.budget == cheapest), key=lambda spec: spec.num_params)
    return cells[len(cells) // 2]
