"""Packs: which runs of a sweep are trained together in one program, and why none are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from isoflop.runs import RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import Demand, Executor
from isoflop.training.executors.devices import devices_of
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.processes import Processes
from isoflop.training.notices import print_notice
from isoflop.training.ranks import Ranks

__all__ = ["Packs", "one_by_one", "packs_of", "planned_packs", "with_mates_last"]

Packs = Mapping[str, tuple[RunSpec, ...]]
"""By id of the first run: the runs that are trained together."""

MOST = 16
"""Runs in a pack; the gain of more is small, and their batches take memory."""
MEMORY_SHARE = 0.5
"""Share of the memory that the predicted needs of a pack may take; they are no upper bounds."""


def planned_packs(
    task: Task,
    todo: Sequence[RunSpec],
    demands: Mapping[str, Demand],
    *,
    executor: Executor,
    store: Store,
    ranks: Ranks,
    trackers: Sequence[str],
) -> Packs:
    """The packs of the runs to train; a line on stderr says why there are none."""
    reason = _reason_against(task, executor, store, ranks, trackers)
    if reason is not None:
        one_by_one(reason)
        return {}
    at_once = executor.at_once() if isinstance(executor, Processes) else 1
    num_bytes = devices_of(executor, ranks.num_ranks).num_bytes
    room = math.inf if num_bytes is None else MEMORY_SHARE * num_bytes / at_once
    needs = {run_id: demand.memory_bytes for run_id, demand in demands.items()}
    packs = packs_of(todo, at_once, needs, room)
    if not packs:
        one_by_one("no two of them have the same size, tokens and batch")
    return packs


def with_mates_last(waves: Sequence[Sequence[RunSpec]], packs: Packs) -> list[list[RunSpec]]:
    """Waves of runs in which all of a pack but its first run come last, should they be left."""
    mates = [spec for pack in packs.values() for spec in pack[1:]]
    ids = {spec.id for spec in mates}
    kept = [[spec for spec in wave if spec.id not in ids] for wave in waves]
    return [*kept, mates]


def one_by_one(reason: str) -> None:
    """Say that runs are not packed, and why."""
    print_notice(f"runs are trained one by one, not packed: {reason}.")


def packs_of(
    specs: Sequence[RunSpec],
    at_once: int = 1,
    memory_bytes: Mapping[str, float | None] | None = None,
    room: float = math.inf,
) -> Packs:
    """Packs of the specs that differ in seed, learning rate and weight decay alone.

    at_once: number of workers, each of which gets its part of the specs.
    memory_bytes: of each run by id, where it is known; room: bytes for a pack.
    """
    cells: dict[str, list[RunSpec]] = {}
    for spec in specs:
        cells.setdefault(_cell(spec), []).append(spec)
    packs: dict[str, tuple[RunSpec, ...]] = {}
    for cell in cells.values():
        fitting = room / ((memory_bytes or {}).get(cell[0].id) or 1.0)
        most = max(1, int(min(MOST, math.ceil(len(specs) / at_once), fitting)))
        packs |= {part[0].id: part for part in _parts(cell, most) if len(part) > 1}
    return packs


def _cell(spec: RunSpec) -> str:
    """What the members of a pack have in common."""
    return replace(spec, seed=0, lr=0.0, weight_decay=0.0).id


def _parts(cell: Sequence[RunSpec], most: int) -> list[tuple[RunSpec, ...]]:
    """The specs in parts of at most so many, as equal as can be."""
    number = math.ceil(len(cell) / most)
    bounds = [len(cell) * k // number for k in range(number + 1)]
    return [tuple(cell[low:high]) for low, high in pairwise(bounds)]


def _reason_against(
    task: Task, executor: Executor, store: Store, ranks: Ranks, trackers: Sequence[str]
) -> str | None:
    recipe, is_here = task.recipe, isinstance(executor, InProcess)
    reasons = {
        "torchrun spreads each of them over several processes": ranks.num_ranks > 1,
        "only InProcess() and Processes() can pack them": not (
            is_here or isinstance(executor, Processes)
        ),
        "workers cannot write to a store in memory": not is_here and store.folder is None,
        "trackers log one run at a time": bool(trackers),
        "the recipe has an optimizer of its own": recipe.optimizer is not None,
        "the recipe has groups of its own": recipe.groups is not None,
        "the recipe averages weights (ema)": recipe.ema is not None,
        "the recipe has branches": recipe.branches,
        "the recipe compiles the model": bool(recipe.compile),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
