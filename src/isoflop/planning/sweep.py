"""plan() and Sweep: the runs of an IsoFLOP grid, what they cost, and their table; nothing is spent yet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isoflop.contract.fingerprint import fingerprint
from isoflop.contract.randomness import seeded
from isoflop.errors import PlanError
from isoflop.fitting.fit import fit
from isoflop.planning.asked import asked
from isoflop.planning.branches import branch_notes, branched, on_lattice, shared
from isoflop.planning.compute import Compute, Hardware
from isoflop.planning.cost import measure_speed, run_bytes
from isoflop.planning.limits import Room, named_hardware, room_on, within
from isoflop.planning.passes import check_data, epoch_notes, epochs_to_sweep
from isoflop.planning.sizing import SizeCount, check_task, count_size, size_near, sizes_near
from isoflop.planning.specs import make_spec
from isoflop.planning.tables import specs_table
from isoflop.planning.tokens import token_supply
from isoflop.runs import Run, RunSpec
from isoflop.table import Table
from isoflop.task import Task
from isoflop.text import bullets, count, duration, flops, html, number, percent
from isoflop.written import Tabular, to_text

__all__ = ["Sweep", "plan"]

SIZES_PER_BUDGET = 7
TOKENS_PER_PARAM = 20.0
"""Guess of the optimum where nothing is known (Hoffmann et al. 2022)."""

SPREAD_UNKNOWN, SPREAD_KNOWN = 8.0, 4.0
"""Sizes of a budget span the guess times and divided by this; less once runs have been fitted."""

BUDGET_RATIO, NUM_BUDGETS = 3.0, 4
"""Budgets of a sweep that is given by what it may spend: four, each three times the one before."""

MIN_RESAMPLES = 20
"""Only the law itself is wanted where sizes are centred on it."""

MIN_SIZES = 3
"""A parabola needs three points."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Tabular):
    """Runs that were asked for, with what they cost on this machine.

    seconds, mfu, memory_bytes: predictions per run id, on one worker; empty where they could not be made. MFU is the
        share of the peak of a matrix product, both measured here.
    hardware: accelerators that the plan was made for; None for this machine.
    """

    specs: tuple[RunSpec, ...]
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    mfu: Mapping[str, float] = field(default_factory=dict)
    hardware: Hardware | None = None
    unit: str = "token"

    @property
    def flops(self) -> float:
        """FLOPs of all runs together, a trunk that several share counted once."""
        return sum(spec.flops for spec in self.specs) - shared(self.specs, lambda spec: spec.flops)

    @property
    def total_seconds(self) -> float | None:
        """Predicted seconds on one worker; None where they could not be predicted."""
        if not self.seconds:
            return None
        total = sum(self.seconds[spec.id] for spec in self.specs)
        return total - shared(self.specs, lambda spec: self.seconds[spec.id])

    @property
    def compute(self) -> Compute:
        """FLOPs of all runs together, and what they are on the named hardware in hours, days and money."""
        spent = Compute(flops=self.flops)
        return spent if self.hardware is None else spent.on(self.hardware)

    def __len__(self) -> int:
        return len(self.specs)

    def __str__(self) -> str:
        parts = [_headline(self), to_text(self.table())]
        return "\n".join([*parts, bullets(self.notes)] if self.notes else parts)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        table = self.table()
        return html(_headline(self), [[table.headings(), *table.cells()]], self.notes)

    def table(self) -> Table:
        """One row for each run, with what it costs."""
        return specs_table(self.specs, self.seconds, self.memory_bytes, self.mfu, self.hardware)


def plan(
    task: Task,
    *,
    budgets: Sequence[float | str] | None = None,
    target: float | str | None = None,
    spend: float | str | None = None,
    runs: Sequence[Run] = (),
    epochs: Sequence[float] | None = None,
    hardware: str | None = None,
) -> Sweep:
    """The runs that would answer the question, and what they cost; nothing is trained.

    budgets: FLOPs of each IsoFLOP curve. Or `target` and `spend`: the FLOPs of the run that is wanted in the end and
        the share of them that the sweep may cost (above 1: FLOPs). Each may be written as "1e21", "8xH100 for 3 days
        at 40% MFU", "1000 H100-hours" or "$50,000 at $2.50/H100-hour".
    runs: what has been run so far; sizes are then centred on its estimate of the optimum and spread less.
    epochs: passes over the data to sweep: each run is made once per number, with the part of the data that its tokens
        pass over as often, to show what repeated data are worth. None for all of the data.
    hardware: what the runs are to be trained on, "8xH100" or "8xH100 at 40% MFU at $2.50/hour", one run per device:
        sizes that its memory does not hold are left out, and the sweep is told in its hours. "here" is this machine;
        None is this machine too, but only a GPU's memory binds.

    Raises ContractError where the task breaks its contract, PlanError where the plan cannot be made: budgets that are
    not positive or cannot be read, too few sizes, too little data for the passes that the recipe allows.
    """
    question = asked(budgets, target, spend)
    wanted = _budgets(question.budgets, question.target, question.spend)
    with seeded(0):  # models are built and timed; the caller's random numbers stay as they were
        sweep = _planned(task, wanted, runs, epochs_to_sweep(task, epochs), room_on(hardware))
    named = named_hardware(hardware)
    told = (*question.notes, *(() if named is None else named.notes), *sweep.notes)
    return replace(sweep, hardware=named, notes=tuple(dict.fromkeys(told)))


def _planned(
    task: Task, wanted: Sequence[float], runs: Sequence[Run], epochs: Sequence[float | None], room: Room
) -> Sweep:
    check_task(task)
    supply = token_supply(task)
    mark = fingerprint(task)
    centres = _Centres.of(runs)
    specs: list[RunSpec] = []
    notes: list[str] = list(centres.notes)
    for budget in wanted:
        counts = _sizes(task, budget, centres, room, notes)
        specs += [
            make_spec(
                task, supply, mark, sized, budget / sized.flops_per_token, seed=seed, budget=budget, epochs=passes
            )
            for sized in counts
            for passes in epochs
            for seed in task.recipe.seeds
        ]
    if task.recipe.branches:
        specs = branched(task.recipe, specs)
        notes += branch_notes(specs)
    check_data(task, supply, specs)
    return _costed(task, specs, notes, room)


def _budgets(budgets: Sequence[float] | None, target: float | None, spend: float | None) -> list[float]:
    if budgets is not None:
        wanted = sorted({float(budget) for budget in budgets})
        if not wanted or not all(math.isfinite(budget) and budget > 0 for budget in wanted):
            raise PlanError(f"budgets must be FLOPs above 0, but got {list(budgets)}.")
        if spend is not None:
            raise PlanError("budgets and spend both say how much the sweep may cost; give one of them.")
        return wanted
    if target is None or spend is None:
        raise PlanError("A plan needs budgets=[...], or target= with spend=; give the FLOPs that the sweep may cost.")
    total = spend * target if spend <= 1 else spend
    if not (math.isfinite(total) and total > 0):
        raise PlanError(f"target and spend must be above 0, but got target={target!r} and spend={spend!r}.")
    smallest = total / (SIZES_PER_BUDGET * sum(BUDGET_RATIO**k for k in range(NUM_BUDGETS)))
    return [smallest * BUDGET_RATIO**k for k in range(NUM_BUDGETS)]


@dataclass(frozen=True)
class _Centres:
    """Where the optimum of a budget is guessed to lie: by the law of earlier runs, else by tokens per param."""

    law: Any = None
    spread: float = SPREAD_UNKNOWN
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "_Centres":
        if len({run.budget for run in runs if run.budget is not None and run.status == "completed"}) < 2:
            return cls()
        law = fit(runs, resamples=MIN_RESAMPLES).law
        return cls(law, SPREAD_KNOWN, ("Sizes are centred on the optimum that the earlier runs show.",))

    def num_params(self, task: Task, budget: float) -> float:
        if self.law is not None:
            return float(self.law.optimum(budget)[0])
        guess = math.sqrt(budget / (6 * TOKENS_PER_PARAM))
        for _ in range(2):  # FLOPs per token are not 6N at small sizes, and depend on N
            near = size_near(task, guess)
            guess = math.sqrt(budget / (TOKENS_PER_PARAM * near.flops_per_token / near.num_params))
        return guess


def _sizes(task: Task, budget: float, centres: _Centres, room: Room, notes: list[str]) -> list[SizeCount]:
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


def _costed(task: Task, specs: Sequence[RunSpec], notes: Sequence[str], room: Room) -> Sweep:
    speed = measure_speed(task, specs)
    memory = {spec.id: run_bytes(spec, count_size(task, spec.size)) for spec in specs}
    known = {run_id: size for run_id, size in memory.items() if size is not None}
    return Sweep(
        specs=tuple(specs),
        notes=(*notes, *room.notes(known), *epoch_notes(task, specs)),
        seconds={} if speed is None else {spec.id: speed.seconds(spec) for spec in specs},
        memory_bytes=known,
        mfu={} if speed is None else {spec.id: speed.mfu(spec) for spec in specs},
        unit=task.unit,
    )


def _headline(sweep: Sweep) -> str:
    budgets = len({spec.budget for spec in sweep.specs})
    total = sweep.total_seconds
    when = "" if total is None else f", about {duration(total)} on one worker of this machine"
    runs = f"{len(sweep.specs)} run{'s' if len(sweep.specs) != 1 else ''}"
    told = f"{runs} at {budgets} budget{'s' if budgets != 1 else ''}: {flops(sweep.flops)} FLOPs{when}"
    return told if sweep.hardware is None else f"{told}; {_elsewhere(sweep, sweep.hardware)}"


def _elsewhere(sweep: Sweep, hardware: Hardware) -> str:
    """The sweep on the hardware that it was planned for."""
    compute = sweep.compute
    hours, money = compute.device_hours or 0.0, compute.money
    paid = "" if money is None else f", {hardware.currency}{money:,.{0 if money >= 100 else 2}f}"
    longest = max(spec.flops for spec in sweep.specs) / hardware.flops_per_second  # a run is on one of them
    least = duration(max(longest, compute.seconds or 0.0))
    told = f"{number(hours)} {hardware.accelerator.name} hours at {percent(hardware.mfu)} MFU"
    return f"{told}, at least {least} on {hardware.number}{paid}"
