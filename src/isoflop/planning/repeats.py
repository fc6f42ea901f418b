"""Specs without failed runs, and with one cell repeated to measure the noise."""

import math
from collections.abc import Sequence
from dataclasses import replace

from isoflop.display.format import format_flops
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec

__all__ = ["with_repeats", "without_failed"]

NUM_SEEDS = 3
"""Runs of one cell that measure the noise between seeds."""


def without_failed(
    specs: Sequence[RunSpec], runs: Sequence[Run]
) -> tuple[list[RunSpec], tuple[Note, ...]]:
    """The specs whose run has not failed, and a note on how many others there were."""
    failed = {run.id for run in runs if run.status == "failed"}
    kept = [spec for spec in specs if spec.id not in failed]
    left = len(specs) - len(kept)
    if not left:
        return kept, ()
    what, them = (
        ("1 run that failed is", "it") if left == 1 else (f"{left} runs that failed are", "them")
    )
    text = f"{what} not planned again; leave {them} out of runs= to try {them} again."
    return kept, (Note("failed-not-planned", text),)


def with_repeats(
    specs: Sequence[RunSpec], runs: Sequence[Run]
) -> tuple[list[RunSpec], tuple[Note, ...]]:
    """The specs, with one cell of them under further seeds, so that three runs show the noise.

    The cell is the one that earlier runs have repeated, else the middle size of the cheapest
    budget; none where they have repeated one that is not among the specs.
    """
    if not specs:
        return [], ()
    seeds: dict[str, set[int]] = {}
    for spec in [*specs, *(run.spec for run in runs)]:
        seeds.setdefault(_cell(spec), set()).add(spec.seed)
    repeated = [spec for spec in specs if len(seeds[_cell(spec)]) >= NUM_SEEDS]
    if not repeated and max(map(len, seeds.values())) >= NUM_SEEDS:
        return list(specs), ()
    chosen = repeated[0] if repeated else _middle(specs)
    wanted = _with_more_seeds(sorted(seeds[_cell(chosen)]))
    more, _ = without_failed([replace(chosen, seed=seed) for seed in wanted], runs)
    more = [spec for spec in more if spec not in specs]
    place = specs.index(chosen) + 1
    notes = _seed_notes(chosen, wanted) if {s.id for s in more} - {run.id for run in runs} else ()
    return [*specs[:place], *more, *specs[place:]], notes


def _with_more_seeds(seeds: list[int]) -> list[int]:
    """The seeds and the smallest others, NUM_SEEDS in all."""
    others = [seed for seed in range(2 * NUM_SEEDS) if seed not in seeds]
    return seeds + others[: max(NUM_SEEDS - len(seeds), 0)]


def _seed_notes(chosen: RunSpec, seeds: Sequence[int]) -> tuple[Note, ...]:
    budget = format_flops(chosen.budget or chosen.flops)
    text = (
        f"Size {chosen.size} at {budget} FLOPs is trained with {len(seeds)} seeds, to measure "
        f"the noise."
    )
    return (Note("repeated-seeds", text),)


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
