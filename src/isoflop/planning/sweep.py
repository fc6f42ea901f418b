"""plan() and Sweep: the runs to make next, what they cost and what they would tell; nothing is spent yet."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch

from isoflop import arguments
from isoflop.compute.budget import Asked, asked
from isoflop.compute.compute import Compute, Hardware
from isoflop.counting.accounts import counting_notes
from isoflop.counting.check import check_task
from isoflop.counting.counting import count_size
from isoflop.counting.tokens import token_supply
from isoflop.display.format import (
    format_bullets,
    format_count,
    format_duration,
    format_flops,
    format_html,
    format_money,
    format_number,
    format_percent,
    merge_budgets,
)
from isoflop.display.table import Table
from isoflop.display.writers import Tabular, to_text
from isoflop.errors import PlanError
from isoflop.fitting.bayesian.prior import SMALL
from isoflop.fitting.kriging.run_value import design_condition
from isoflop.planning.branches import branch_notes, branched, shared
from isoflop.planning.candidates import Ladder
from isoflop.planning.cost import makespan, measure_speed, run_bytes
from isoflop.planning.forecast import Expected, Outlook
from isoflop.planning.grid import (
    Centres,
    Grid,
    budget_sizes,
    edge_sizes,
    measured_runs,
    with_repeats,
    without_failed,
)
from isoflop.planning.limits import Room, named_hardware, room_on
from isoflop.planning.passes import batch_notes, check_data, epoch_notes, epochs_to_sweep
from isoflop.planning.shapes import shape_notes
from isoflop.planning.stage import DESIGNS, Design, planned_stage, require_near
from isoflop.planning.sweep_table import specs_table
from isoflop.runs import Run, RunSpec, runs_of
from isoflop.task import Task, require_task
from isoflop.user_code.fingerprint import check_unchanged, fingerprint, named_values
from isoflop.user_code.isolation import isolated

__all__ = ["Sweep", "plan"]

BEYOND = 10.0
"""Times the largest budget, where a grid is planned without a target and its expectation is told."""
APART = (
    "Recipe(branches=True) is for grids of budgets=[...]: the runs of a stage share no trunk, and each is trained from "
    "its start."
)


@dataclass(frozen=True, kw_only=True)
class Sweep(Tabular):
    """Runs that were asked for, with what they cost on this machine.

    seconds, mfu, memory_bytes: predictions per run id, on one worker; empty where they could not be made. MFU is the
        share of the peak of a matrix product, both measured here.
    hardware: accelerators that the plan was made for; None for this machine.
    outlook: what `expected` is simulated from; None where nothing is to be trained.
    """

    specs: tuple[RunSpec, ...]
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    mfu: Mapping[str, float] = field(default_factory=dict)
    hardware: Hardware | None = None
    unit: str = "token"
    outlook: Outlook | None = field(default=None, repr=False, compare=False)

    @cached_property
    def expected(self) -> Expected | None:
        """How narrow the answer at the target will be, by simulation (seconds); None where nobody can tell."""
        return None if self.outlook is None or not self.specs else self.outlook.expected(self.specs)

    @property
    def condition(self) -> float:
        """Condition number of the design, `fitting.foresight.design_condition`; infinite with fewer than 5 runs."""
        N, D = (
            np.array([getattr(spec, name) for spec in self.specs], float)
            for name in ("num_params", "num_tokens")
        )
        return design_condition(N, D)

    def makespan(self, num_workers: int) -> float | None:
        """Predicted seconds on so many workers of this machine, longest runs first; None where times are unknown."""
        return makespan(self.seconds.values(), num_workers) if self.seconds else None

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
        parts = (_headline(self), to_text(self.table()), format_bullets(_told(self)))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        table = self.table()
        return format_html(_headline(self), [[table.headings(), *table.cells()]], _told(self))

    def table(self) -> Table:
        """One row for each run, with what it costs."""
        return specs_table(self.specs, self.seconds, self.memory_bytes, self.mfu, self.hardware)


def plan(
    task: Task,
    *,
    budgets: Iterable[float | str] | float | str | None = None,
    target: float | str | None = None,
    spend: float | str | None = None,
    runs: Iterable[Run] = (),
    epochs: Sequence[float] | float | None = None,
    hardware: str | None = None,
    design: Design = "sequential",
    allow_far: bool = False,
) -> Sweep:
    """The runs to make next, and what they cost; nothing is trained.

    budgets: FLOPs of each IsoFLOP curve, all of which are planned at once; a single one needs no list. Each may be
        written as "1e21", "8xH100 for 3 days at 40% MFU", "1000 H100-hours" or "$50,000 at $2.50/H100-hour", and so may
        the next two. Sizes of which one step costs far more are left out.
    target, spend: the FLOPs of the run that is wanted in the end and the share of them that the sweep may cost in all
        (above 1: FLOPs), runs so far included. One stage is planned at a time: plan again with what it has shown, until
        the sweep has no specs.
    runs: what has been run so far. Budgets that they have are kept, and repaired where the lowest loss is at the edge;
        new ones are centred on their estimate of the optimum. What failed is not planned again. For a target they count
        against the spend.
    epochs: passes over the data to sweep, one number or several: each run is made once per number, with the part of the
        data that its tokens pass over as often, to show what repeated data are worth. None for all of the data.
    hardware: what the runs are to be trained on, "8xH100" or "8xH100 at 40% MFU at $2.50/hour", one run per device:
        sizes that its memory does not hold are left out, and the sweep is told in its hours. "here" is this machine;
        None is this machine too, but only a GPU's memory binds.
    design: of a target's stages: "sequential" makes a small pilot and then the runs that would tell most of the
        optimum at the target; "lean" is a plain IsoFLOP sweep of four budgets with five sizes, recentred each time.
    allow_far: plan even if the target is more than 1,000 times the largest run that can be paid for.

    Raises ContractError where the task breaks its contract, PlanError where the plan cannot be made: budgets that are
    not positive or cannot be read, too few sizes, too little data for the passes that the recipe allows, a target too
    far.
    """
    require_task(task, "plan: task")
    question = asked(budgets, target, spend)
    design = cast(Design, arguments.one_of(design, "design", DESIGNS, error=PlanError))
    allow_far = arguments.flag(allow_far, "allow_far", error=PlanError)
    _check(question)
    runs = runs_of(runs, "plan", PlanError)
    with (
        isolated(0),
        torch.enable_grad(),
    ):  # models are built and timed; the caller's process stays as it was
        before = named_values(task)
        check_task(task)
        check_unchanged(task, before)
        runs, apart = _of_task(runs, fingerprint(task))
        if question.budgets is not None:
            if question.target is not None and not allow_far:
                require_near(
                    question.target, max([*question.budgets, *(run.flops for run in runs)])
                )
            sweep = _grid(task, question, runs, epochs_to_sweep(task, epochs), room_on(hardware))
        else:
            sweep = _staged(task, question, runs, room_on(hardware), design, allow_far)
    named = named_hardware(hardware)
    told = (
        *question.notes,
        *(() if named is None else named.notes),
        *apart,
        *sweep.notes,
        *_small_notes(sweep.specs),
        *shape_notes(sweep.specs),
    )
    return replace(sweep, hardware=named, notes=merge_budgets(told))


def _small_notes(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    """That models of few params promise less than they seem to."""
    largest = max((spec.num_params for spec in specs), default=math.inf)
    if largest >= SMALL:
        return ()
    return (
        f"The largest model has {format_count(largest)} params: models below {format_count(SMALL)} often do not follow a power law "
        f"yet, so expect a wide interval of the loss.",
    )


def _check(question: Asked) -> None:
    budgets, target, spend = question.budgets, question.target, question.spend
    if budgets is not None:
        if spend is not None:
            raise PlanError(
                "budgets and spend both say how much the sweep may cost; give one of them."
            )
    elif target is None or spend is None:
        raise PlanError(
            "A plan needs budgets=[...], or target= with spend=; give the FLOPs that the sweep may cost."
        )


def _of_task(runs: list[Run], mark: str) -> tuple[list[Run], tuple[str, ...]]:
    """The runs of a task and of tables, and a note of those of other tasks: these show nothing of its optimum."""
    own = [run for run in runs if run.spec.fingerprint in ("", mark)]
    others = len(runs) - len(own)
    return own, (
        f"{others} of the runs so far are of another task and are left out.",
    ) if others else ()


def _grid(
    task: Task, question: Asked, runs: Sequence[Run], epochs: Sequence[float | None], room: Room
) -> Sweep:
    supply = token_supply(task)
    grid, centres = Grid(task, supply, fingerprint(task), room, runs), Centres.of(runs)
    specs: list[RunSpec] = []
    notes: list[str] = []
    for budget in sorted(set(question.budgets or ())):
        kept = measured_runs(grid, budget) if epochs == [None] else []
        counts = [count_size(task, size) for size in dict.fromkeys(run.size for run in kept)]
        counts = [*counts, *edge_sizes(grid, budget, kept, notes)] or budget_sizes(
            grid, budget, centres, notes
        )
        specs += [
            grid.spec(sized, budget, seed=seed, epochs=passes)
            for sized in counts
            for passes in epochs
            for seed in task.recipe.seeds
        ]
    if task.recipe.branches:
        specs = branched(task.recipe, specs)
    specs = without_failed(specs, runs, notes)
    if task.recipe.branches:
        notes += branch_notes(specs) if specs else []
    elif epochs == [None]:
        specs = with_repeats(specs, runs, notes)
    check_data(task, supply, specs)
    target = question.target or BEYOND * max(question.budgets or (math.nan,))
    outlook = Outlook(
        target, _ladder_of_specs([*specs, *(run.spec for run in runs)]), tuple(_others(runs, specs))
    )
    return replace(_costed(task, specs, notes, room), outlook=outlook)


def _others(runs: Sequence[Run], specs: Sequence[RunSpec]) -> list[Run]:
    ids = {spec.id for spec in specs}
    return [run for run in runs if run.id not in ids]


def _ladder_of_specs(specs: Sequence[RunSpec]) -> Ladder:
    cost = {spec.num_params: spec.flops_per_token for spec in specs}
    N = sorted(cost)
    return Ladder(np.array(N, dtype=float), np.array([cost[one] for one in N], dtype=float))


def _staged(
    task: Task, question: Asked, runs: Sequence[Run], room: Room, design: Design, allow_far: bool
) -> Sweep:
    target, spend = float(question.target or 0), float(question.spend or 0)
    spend = spend * target if spend <= 1 else spend
    if not allow_far:
        require_near(
            target,
            max([DESIGNS[design] * spend / len(task.recipe.seeds), *(run.flops for run in runs)]),
        )
    supply, mark = token_supply(task), fingerprint(task)
    stage = planned_stage(
        task, supply, mark, room, target=target, spend=spend, runs=runs, design=design
    )
    check_data(task, supply, stage.specs)
    outlook = Outlook(target, stage.ladder, tuple(runs), spend, lean=design == "lean")
    notes = [*stage.notes, *([APART] if task.recipe.branches and stage.specs else [])]
    return replace(_costed(task, stage.specs, notes, room), outlook=outlook)


def _costed(task: Task, specs: Sequence[RunSpec], notes: Sequence[str], room: Room) -> Sweep:
    speed = measure_speed(task, specs)
    memory = {spec.id: run_bytes(spec, count_size(task, spec.size)) for spec in specs}
    known = {run_id: size for run_id, size in memory.items() if size is not None}
    return Sweep(
        specs=tuple(specs),
        notes=(
            *notes,
            *counting_notes(task, specs),
            *room.notes(known),
            *epoch_notes(task, specs),
            *batch_notes(task, specs),
        ),
        seconds={} if speed is None else {spec.id: speed.seconds(spec) for spec in specs},
        memory_bytes=known,
        mfu={} if speed is None else {spec.id: speed.mfu(spec) for spec in specs},
        unit=task.unit,
    )


def _headline(sweep: Sweep) -> str:
    if not sweep.specs:
        return "No runs to make"
    budgets = len({spec.budget for spec in sweep.specs} - {None})
    total = sweep.total_seconds
    when = (
        "" if total is None else f", about {format_duration(total)} on one worker of this machine"
    )
    runs = f"{len(sweep.specs)} run{'s' if len(sweep.specs) != 1 else ''}"
    where = f" at {budgets} budget{'s' if budgets != 1 else ''}" if budgets else ""
    told = f"{runs}{where}: {format_flops(sweep.flops)} FLOPs{when}"
    return told if sweep.hardware is None else f"{told}; {_elsewhere(sweep, sweep.hardware)}"


def _told(sweep: Sweep) -> tuple[str, ...]:
    """What the sweep would tell, before its notes."""
    if not sweep.specs:
        return sweep.notes
    condition = f"Condition number of the design: {format_number(sweep.condition, 2)}."
    nothing = "No law is expected to be found in these runs."
    expected = nothing if sweep.expected is None else f"This sweep is {sweep.expected}."
    return (expected, *([condition] if math.isfinite(sweep.condition) else []), *sweep.notes)


def _elsewhere(sweep: Sweep, hardware: Hardware) -> str:
    """The sweep on the hardware that it was planned for."""
    compute = sweep.compute
    hours, paid_for = compute.device_hours or 0.0, compute.money
    paid = "" if paid_for is None else f", {format_money(paid_for, hardware.currency)}"
    longest = (
        max(spec.flops for spec in sweep.specs) / hardware.flops_per_second
    )  # a run is on one of them
    least = format_duration(max(longest, compute.seconds or 0.0))
    told = f"{format_number(hours)} {hardware.accelerator.name} hours at {format_percent(hardware.mfu)} MFU"
    return f"{told}, at least {least} on {hardware.number}{paid}"
