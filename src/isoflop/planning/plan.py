"""plan(): the runs to make next, what they cost and how precise they make the answer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from isoflop.counting.memory import run_bytes
from isoflop.counting.run_seconds import what_binds
from isoflop.counting.sizes import SizeCount, Sizes
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count, format_items
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.fitting.bayesian.prior import SMALL
from isoflop.notes.merging import merged
from isoflop.notes.note import Note
from isoflop.planning.branches import branch_notes, branched, shared
from isoflop.planning.candidates import Ladder
from isoflop.planning.earlier_runs import paid
from isoflop.planning.edges import edge_sizes, measured_runs
from isoflop.planning.first_rate import rate_notes
from isoflop.planning.forecast import Simulation
from isoflop.planning.grid import Centres, Grid, budget_sizes
from isoflop.planning.limits import Room, named_hardware, room_on
from isoflop.planning.passes import (
    batch_notes,
    check_data,
    epoch_notes,
    epochs_to_sweep,
    loader_notes,
)
from isoflop.planning.question import CheckRates, SweepQuestion, sweep_question
from isoflop.planning.rate_check import RateCheck, rate_check
from isoflop.planning.repeats import with_repeats, without_failed
from isoflop.planning.shapes import shape_notes
from isoflop.planning.stage import (
    Design,
    largest_share,
    planned_stage,
    require_near,
    spent_note,
    stage_design,
)
from isoflop.planning.sweep import Sweep
from isoflop.planning.times import time_notes
from isoflop.runs import Run, RunSpec, parted_runs
from isoflop.task import Task

__all__ = ["plan", "plan_question"]

BEYOND = 10.0
"""Times the largest budget: the target of the forecast of a grid that is planned without one."""
BRANCHES_APART = Note(
    "branches-apart",
    "Recipe(branches=True) is for grids of budgets=[...]: the runs of a stage share no trunk, and "
    "each is trained from its start.",
)


def plan(
    task: Task | Family,
    *,
    budgets: Iterable[float | str] | float | str | None = None,
    target: float | str | None = None,
    spend: float | str | None = None,
    runs: Iterable[Run] = (),
    epochs: Sequence[float] | float | None = None,
    hardware: str | None = None,
    design: Design = "auto",
    allow_far: bool = False,
    forecast: bool = False,
    check_rates: CheckRates = "auto",
) -> Sweep:
    """The runs to make next, and what they cost; nothing is trained.

    task: a `Task`, or a `Family` that another trainer trains.
    budgets: FLOPs of each IsoFLOP curve, all of which are planned at once; a single one needs no
        list. Each may be written as "1e21", "8xH100 for 3 days at 40% MFU", "1000 H100-hours" or
        "$50,000 at $2.50/H100-hour", and so may the next two. Sizes of which one step costs far
        more are left out.
    target, spend: FLOPs of the final run, and the share of them that the sweep may cost in all
        (above 1: FLOPs), earlier runs included. One stage is planned at a time: plan again with
        its runs, until the sweep has no specs.
    runs: earlier runs. Their budgets are kept, and extended where the lowest loss is at the edge;
        new ones are centred on their estimate of the optimum. Failed runs are not planned again.
        For a target, runs count against the spend.
    epochs: passes over the data to sweep, one number or several. Each run is planned once per
        number, on the part of the data that its tokens pass over as often, to show what repeated
        data are worth. None for all of the data. For budgets only.
    hardware: accelerators to train on, "8xH100" or "8xH100 at 40% MFU at $2.50/hour", one run per
        device. Sizes that its memory does not hold are left out, and the sweep prints its hours.
        "here" is this machine; None is this machine too, but only a GPU's memory binds.
    design: of a target's stages. "sequential" starts with a small pilot and then chooses the runs
        that narrow the optimum at the target most, under a law; "lean" is a plain IsoFLOP sweep of
        four budgets with five sizes, centred anew each time, which needs no law. "auto" is "lean"
        where the largest run would train fewer than a million params, whose losses often follow
        none.
    forecast: simulate how precise the answer will be, which takes seconds; `Sweep.forecast` holds
        the result.
    allow_far: plan even if the target is more than 1,000 times the largest affordable run.
    check_rates: plan short runs beside a first stage or a new grid, `Sweep.checks`, for at most 3 %
        of the sweep's FLOPs: two sizes at the planned learning rate, twice and half of it, and, as
        far as that pays, in twice and half the planned batch. They show whether the recipe's rules
        hold; `spend` covers them. "auto" plans them where isoflop's own loop trains, True for any
        trainer that obeys `spec.lr` and `spec.batch`, None not at all.

    Raises ContractError where the task breaks its contract, and PlanError where the plan is
    impossible: budgets that are not positive or cannot be read, too few sizes, too little data for
    the passes that the recipe allows, a target too far.
    """
    sizes = sizes_of(task, "plan: task")
    question = sweep_question(
        budgets=budgets,
        target=target,
        spend=spend,
        hardware=hardware,
        design=design,
        allow_far=allow_far,
        forecast=forecast,
        check_rates=check_rates,
    )
    return plan_question(sizes, question, runs, epochs=epochs)


def plan_question(
    sizes: Sizes,
    question: SweepQuestion,
    runs: Iterable[Run] = (),
    *,
    epochs: float | Sequence[float] | None = None,
) -> Sweep:
    """The sweep of a question; the arguments and errors are those of `plan`."""
    if epochs is not None and question.budgets is None:
        raise PlanError(
            "Epochs are swept at budgets=[...], but got a target alone; give budgets, or leave out "
            "epochs."
        )
    given, checks = parted_runs(runs, "plan", PlanError)
    runs, unmeasured = _measured(given)
    with sizes.checked():
        checks, _ = _of_task(checks, sizes.fingerprint)
        runs, apart = _of_task(runs, sizes.fingerprint)
        room = room_on(question.hardware, is_trained_here=sizes.is_trained_here)
        if question.budgets is not None:
            if question.target is not None and not question.allow_far:
                require_near(
                    question.target, max([*question.budgets, *(run.flops for run in runs)])
                )
            sweep = _grid(sizes, question, runs, epochs_to_sweep(sizes, epochs), room)
        else:
            sweep = _staged(sizes, question, runs, checks, room)
    named = named_hardware(question.hardware)
    notes = (
        *question.notes,
        *(() if named is None else named.notes),
        *unmeasured,
        *apart,
        *sweep.notes,
        *_small_notes(sweep.specs),
        *shape_notes(sweep.specs),
    )
    sweep = replace(sweep, hardware=named, notes=merged(notes))
    return sweep.with_forecast() if question.forecast else sweep


def _small_notes(specs: Sequence[RunSpec]) -> tuple[Note, ...]:
    """A note if all models are so small that they may not follow a power law yet."""
    largest = max((spec.num_params for spec in specs), default=math.inf)
    if largest >= SMALL:
        return ()
    text = (
        f"The largest model has {format_count(largest)} params: models below {format_count(SMALL)} "
        f"often do not follow a power law yet, so expect a wide interval of the loss."
    )
    return (Note("small-models", text),)


def _measured(runs: list[Run]) -> tuple[list[Run], tuple[Note, ...]]:
    """The runs that were trained, and a note on rows of a table that still wait for their loss."""
    known = [run for run in runs if run.status != "completed" or math.isfinite(run.loss)]
    without = len(runs) - len(known)
    counts = "counts" if without == 1 else "count"
    text = f"{format_items(without, 'run')} without a loss {counts} as not trained."
    return known, (Note("runs-without-loss", text),) if without else ()


def _of_task(runs: list[Run], fingerprint: str) -> tuple[list[Run], tuple[Note, ...]]:
    """The runs of a task and of tables, and a note on those of other tasks, which are left out."""
    own = [run for run in runs if run.spec.fingerprint in ("", fingerprint)]
    others = len(runs) - len(own)
    text = f"{others} of the runs so far are of another task and are left out."
    return own, (Note("other-task-runs", text),) if others else ()


def _grid(
    sizes: Sizes,
    question: SweepQuestion,
    runs: Sequence[Run],
    epochs: Sequence[float | None],
    room: Room,
) -> Sweep:
    supply = sizes.supply
    grid, centres = Grid(sizes, supply, sizes.fingerprint, room, runs), Centres.of(runs)
    specs: list[RunSpec] = []
    notes: list[Note] = []
    for budget in sorted(set(question.budgets or ())):
        counts, size_notes = _sizes_at(grid, centres, budget, kept=epochs == [None])
        notes += size_notes
        specs += [
            grid.spec(sized, budget, seed=seed, epochs=passes)
            for sized in counts
            for passes in epochs
            for seed in sizes.recipe.seeds
        ]
    if sizes.recipe.branches:
        specs = branched(sizes.recipe, specs)
    specs, failed = without_failed(specs, runs)
    notes += failed
    if sizes.recipe.branches:
        notes += branch_notes(specs) if specs else []
    elif epochs == [None]:
        specs, repeated = with_repeats(specs, runs)
        notes += repeated
    check_data(sizes, supply, specs)
    target = question.target or BEYOND * max(question.budgets or (math.nan,))
    simulation = Simulation(
        target, _ladder_of_specs([*specs, *(run.spec for run in runs)]), tuple(_others(runs, specs))
    )
    flops = sum(spec.flops for spec in specs) - shared(specs, lambda spec: spec.flops)
    check = _check(sizes, question, specs, flops, runs)
    return replace(_costed(sizes, specs, notes, room, check), simulation=simulation)


def _sizes_at(
    grid: Grid, centres: Centres, budget: float, *, kept: bool
) -> tuple[list[SizeCount], tuple[Note, ...]]:
    """Sizes of a budget: those of its earlier runs, if they are kept, with what brackets them."""
    runs = measured_runs(grid, budget) if kept else []
    measured = [grid.sizes.count(size) for size in dict.fromkeys(run.size for run in runs)]
    added, notes = edge_sizes(grid, budget, runs)
    if measured or added:
        return [*measured, *added], notes
    counts, more = budget_sizes(grid, budget, centres)
    return counts, (*notes, *more)


def _others(runs: Sequence[Run], specs: Sequence[RunSpec]) -> list[Run]:
    ids = {spec.id for spec in specs}
    return [run for run in runs if run.id not in ids]


def _ladder_of_specs(specs: Sequence[RunSpec]) -> Ladder:
    cost = {spec.num_params: spec.flops_per_token for spec in specs}
    N = sorted(cost)
    return Ladder(np.array(N, dtype=float), np.array([cost[one] for one in N], dtype=float))


def _staged(
    sizes: Sizes,
    question: SweepQuestion,
    runs: Sequence[Run],
    checks: Sequence[Run],
    room: Room,
) -> Sweep:
    target, spend = float(question.target or 0), float(question.spend or 0)
    checked = sum(paid(run) for run in checks)
    whole = spend * target if spend <= 1 else spend
    seeds = len(sizes.recipe.seeds)
    design = stage_design(question.design, whole / seeds)
    if not question.allow_far:
        require_near(
            target,
            max([largest_share(design) * whole / seeds, *(run.flops for run in runs)]),
        )
    spend = whole - checked
    supply, task_fingerprint = sizes.supply, sizes.fingerprint
    stage = planned_stage(
        sizes,
        supply,
        task_fingerprint,
        room,
        target=target,
        spend=spend,
        runs=runs,
        design=design,
    )
    check_data(sizes, supply, stage.specs)
    simulation = Simulation(target, stage.ladder, tuple(runs), spend, lean=design == "lean")
    check = _check(sizes, question, stage.specs, spend, runs)
    before = checked + sum(map(paid, runs)) + sum(spec.flops for spec in check.specs)
    notes = [
        *([spent_note(stage, before, whole)] if stage.specs else []),
        *stage.notes,
        *([BRANCHES_APART] if sizes.recipe.branches and stage.specs else []),
    ]
    return replace(_costed(sizes, stage.specs, notes, room, check), simulation=simulation)


def _check(
    sizes: Sizes,
    question: SweepQuestion,
    specs: Sequence[RunSpec],
    flops: float,
    runs: Sequence[Run],
) -> RateCheck:
    """The check of the rates and batches of a sweep that begins, of so many FLOPs in all."""
    begins = bool(specs) and not runs
    if begins and question.checks_rates(is_trained_here=sizes.is_trained_here):
        return rate_check(sizes, specs, flops)
    return RateCheck()


def _costed(
    sizes: Sizes,
    specs: Sequence[RunSpec],
    notes: Sequence[Note],
    room: Room,
    check: RateCheck,
) -> Sweep:
    every = [*specs, *check.specs]
    speed = sizes.speed(every)
    times = {} if speed is None else {spec.id: speed.seconds(spec) for spec in every}
    memory = {spec.id: run_bytes(spec, sizes.count(spec.size)) for spec in every}
    known = {run_id: size for run_id, size in memory.items() if size is not None}
    own = [times[spec.id] for spec in specs if times]
    return Sweep(
        specs=tuple(specs),
        checks=check.specs,
        notes=(
            *notes,
            *check.notes,
            *sizes.notes(specs),
            *rate_notes(sizes, specs),
            *room.notes(known),
            *epoch_notes(sizes, specs),
            *batch_notes(sizes, specs),
            *time_notes(own),
            *loader_notes(sizes),
        ),
        seconds={run_id: taken.total for run_id, taken in times.items()},
        binds=what_binds(own) if own else None,
        memory_bytes=known,
        mfu={} if speed is None else {spec.id: speed.mfu(spec) for spec in every},
        unit=sizes.unit,
    )
