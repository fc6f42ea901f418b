"""A stage of a sweep as specs: the places of the design, counted exactly and within the spend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.display.format import format_count, format_flops, format_number
from isoflop.errors import PlanError
from isoflop.fitting.bayesian.prior import SMALL
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.notes.note import Note
from isoflop.planning.candidates import Ladder, Place, Stage
from isoflop.planning.earlier_runs import paid
from isoflop.planning.ladder import ladder_of, too_large
from isoflop.planning.lean import LEAN_LARGEST_SHARE, lean_stage
from isoflop.planning.limits import Room
from isoflop.planning.sequential import LARGEST_SHARE, next_stage
from isoflop.planning.specs import make_spec, paid_tokens
from isoflop.runs import Run, RunSpec, SizeValue

__all__ = [
    "DESIGNS",
    "Design",
    "PlannedStage",
    "StageDesign",
    "largest_share",
    "planned_stage",
    "require_near",
    "spent_note",
    "stage_design",
]

StageDesign = Literal["sequential", "lean"]
"""How runs are chosen for a target."""
Design = Literal["auto"] | StageDesign
DESIGNS = ("auto", "sequential", "lean")
FAR = 1000.0
"""Times the largest run beyond which a target is planned for only on request: 300 is the farthest
that a law has been seen to hold (Delphi, Marin 2026)."""
OVER = 1.02
"""Batches are whole, so that a stage may cost a little more than planned."""
LEAST_STEPS = 20
"""Of the smallest size at the smallest budget; fewer train nothing."""


@dataclass(frozen=True)
class PlannedStage:
    """Specs of the next stage, none if the sweep is finished, with notes."""

    specs: tuple[RunSpec, ...]
    notes: tuple[Note, ...]
    ladder: Ladder
    name: str = ""


def stage_design(design: Design, spend: float) -> StageDesign:
    """The design of a sweep that may cost `spend` FLOPs: for "auto", "lean" for small models.

    They are small where the largest run would train fewer than a million params at 20 tokens per
    param. Their losses follow no single law, so that single runs far apart tell less than valleys
    (benchmarks/results/design-small-models.md).
    """
    if design != "auto":
        return design
    largest = math.sqrt(LARGEST_SHARE * spend / (6 * TOKENS_PER_PARAM))
    return "lean" if largest < SMALL else "sequential"


def largest_share(design: StageDesign) -> float:
    """Share of the spend that the largest run takes."""
    return LARGEST_SHARE if design == "sequential" else LEAN_LARGEST_SHARE


def require_near(target: float, largest: float) -> None:
    """Raise PlanError where a target lies too far beyond the largest run that can be paid for."""
    if target > FAR * largest:
        raise PlanError(
            f"The target is {format_number(target / largest, 2)} times the largest run that the "
            f"sweep can pay for ({format_flops(largest)} FLOPs), and no law can be trusted beyond "
            f"{FAR:,.0f} times; spend more, or give allow_far=True."
        )


def planned_stage(
    sizes: Sizes,
    supply: TokenSupply,
    task_fingerprint: str,
    room: Room,
    *,
    target: float,
    spend: float,
    runs: Sequence[Run],
    design: StageDesign,
) -> PlannedStage:
    """The next stage of a sweep for `target` that may cost `spend` FLOPs in all, with earlier runs.

    task_fingerprint: as given by `Sizes.fingerprint`.

    Raises PlanError where the spend pays for no training.
    """
    ladder = ladder_of(sizes, supply, spend=spend, runs=runs, room=room)
    notes = too_large(sizes, ladder, spend=spend, runs=runs, room=room)
    seeds = sizes.recipe.seeds
    while True:
        # The design sees one run where the recipe has one per seed, and its share of the spend.
        stage = _stage(design, _of_one_seed(runs, seeds), ladder, target, spend, len(seeds))
        counts = {place: sizes.count_or_reason(ladder.size(place)) for place in stage.places}
        failed = [place for place, counted in counts.items() if not isinstance(counted, SizeCount)]
        if not failed:
            break
        for place in failed:
            size = ladder.size(place)
            text = f"Size {size} is left out: a training step of it raised {counts[place]}."
            notes.append(Note("size-left-out-error", text))
            ladder = ladder.without(size)
    sized = {place: counted for place, counted in counts.items() if isinstance(counted, SizeCount)}
    specs = [
        _spec(sizes, supply, task_fingerprint, place, one, seed)
        for place, one in sized.items()
        for seed in seeds
    ]
    if not runs:
        _require_steps(specs, spend, _too_few(sizes, stage, ladder) if stage.lacking else "")
    specs = _within(specs, spend - sum(paid(run) for run in runs), {run.id for run in runs})
    if stage.finished or not specs:
        text = f"The sweep is finished: {_why_finished(sizes, stage, ladder)}."
        return PlannedStage((), (*notes, Note("finished", text)), ladder)
    if stage.lacking:
        lack = "lacks" if stage.lacking == 1 else "lack"
        of_all = (
            f"{stage.lacking} of the stage's {stage.lacking + len(stage.places)} sizes {lack} data"
        )
        notes.append(Note("data-lacking", f"{of_all}: {_too_few(sizes, stage, ladder)}."))
    notes += [note for counted in sized.values() for note in counted.notes if note not in notes]
    return PlannedStage(tuple(specs), tuple(notes), ladder, stage.name)


def spent_note(stage: PlannedStage, before: float, whole: float) -> Note:
    """What is spent after a stage with runs, of the FLOPs of the whole sweep.

    before: FLOPs of the earlier runs, and of those of their checks.
    """
    after = before + sum(spec.flops for spec in stage.specs)
    text = (
        f"This is {stage.name}: after it, {format_flops(after)} of {format_flops(whole)} FLOPs "
        f"are spent; what follows is chosen from what it shows."
    )
    return Note("stage", text)


def _stage(
    design: StageDesign,
    runs: Sequence[Run],
    ladder: Ladder,
    target: float,
    spend: float,
    seeds: int,
) -> Stage:
    if design == "lean":
        return lean_stage(runs, ladder, spend=spend / seeds)
    return next_stage(runs, ladder, target=target, spend=spend / seeds, seeds=seeds)


def _spec(
    sizes: Sizes,
    supply: TokenSupply,
    task_fingerprint: str,
    place: Place,
    counted: SizeCount,
    seed: int,
) -> RunSpec:
    wanted = paid_tokens(sizes, counted, place.flops)
    return make_spec(
        sizes, supply, task_fingerprint, counted, wanted, seed=seed, budget=place.budget
    )


def _of_one_seed(runs: Sequence[Run], seeds: Sequence[int]) -> list[Run]:
    """Of each place the runs of one of the recipe's seeds: the first with a completed run there."""
    best: dict[tuple[SizeValue | None, float, float], tuple[bool, int]] = {}
    for run in runs:
        if run.spec.seed in seeds:
            rank = (run.status != "completed", seeds.index(run.spec.seed))
            best[_place(run)] = min(rank, best.get(_place(run), rank))
    return [
        run
        for run in runs
        if run.spec.seed not in seeds or run.spec.seed == seeds[best[_place(run)][1]]
    ]


def _place(run: Run) -> tuple[SizeValue | None, float, float]:
    return run.size, run.spec.num_params, run.spec.num_tokens


def _why_finished(sizes: Sizes, stage: Stage, ladder: Ladder) -> str:
    if stage.finished:
        return stage.name
    if stage.lacking and not stage.places:
        return _too_few(sizes, stage, ladder)
    return "what is left to spend pays for no further run"


def _too_few(sizes: Sizes, stage: Stage, ladder: Ladder) -> str:
    unit = f"{sizes.unit}s"
    most = format_count(ladder.most_tokens)
    return f"the recipe's passes over the data allow {most} {unit}, and {stage.name} needs more"


def _require_steps(specs: Sequence[RunSpec], spend: float, too_few: str) -> None:
    """Raise PlanError where no run of the first stage trains; too_few: why, if data are lacking."""
    most = max((spec.num_steps for spec in specs), default=0.0)
    if most >= LEAST_STEPS:
        return
    if too_few:
        raise PlanError(
            f"The smallest budget of a sweep needs runs that the data can feed, but {too_few}; "
            f"bring more data, allow more passes with Recipe(epochs=...), or spend less."
        )
    raise PlanError(
        f"A sweep of {format_flops(spend)} FLOPs begins with runs of {format_number(most, 2)} "
        f"steps at most, and fewer than {LEAST_STEPS} teach nothing; spend about "
        f"{format_number(1.2 * LEAST_STEPS / max(most, 0.1), 2)} times as much, or allow smaller "
        f"sizes or batches."
    )


def _within(specs: Sequence[RunSpec], left: float, trained: set[str]) -> list[RunSpec]:
    """The new specs, without the most expensive ones if all would cost more than is left."""
    kept = sorted((spec for spec in specs if spec.id not in trained), key=lambda spec: spec.flops)
    while kept and sum(spec.flops for spec in kept) > OVER * left:
        kept.pop()
    return kept
