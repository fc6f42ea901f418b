"""Sizes beyond the edge at which a budget has its lowest loss, so that they bracket its minimum."""

import math
from collections.abc import Sequence

from isoflop.counting.sizes import SizeCount
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.notes.merging import BudgetNote
from isoflop.notes.note import Note
from isoflop.planning.grid import MIN_SIZES, Grid, split
from isoflop.planning.stage import LEAST_STEPS
from isoflop.runs import Run, RunSpec

__all__ = ["edge_sizes", "measured_runs"]

NUM_BEYOND = 3
"""Sizes added beyond the edge at which a budget has its lowest loss."""


def measured_runs(grid: Grid, budget: float) -> list[Run]:
    """The runs at a budget that the task's recipe would plan again.

    Empty where they have too few sizes for a curve. Runs of another task or recipe are no part of
    the task's grid.
    """

    def again(spec: RunSpec) -> bool:
        if spec.size is None or not grid.sizes.builds(spec.size):
            return False
        same = grid.spec(grid.sizes.count(spec.size), budget, seed=spec.seed)
        return same.id == spec.id or bool(
            grid.sizes.recipe.branches
        )  # branches get their settings together

    own = [
        run
        for run in grid.runs
        if run.budget == budget
        and run.spec.fingerprint == grid.task_fingerprint
        and again(run.spec)
    ]
    return own if len({run.size for run in own}) >= MIN_SIZES else []


def edge_sizes(
    grid: Grid, budget: float, runs: Sequence[Run]
) -> tuple[list[SizeCount], tuple[Note, ...]]:
    """Sizes that would bracket the minimum of a budget with its lowest loss at the edge, and notes.

    They go on from the edge in the steps of the sizes that are there, as far as memory and data
    allow. Empty where the lowest loss is not at the edge.
    """
    beyond = _beyond_edge(grid, runs)
    if beyond is None:
        return [], ()
    fits = [sized for sized in beyond if grid.room.holds(sized)]
    too_large = [grid.room.left_out(sized) for sized in beyond if sized not in fits]
    few = "the recipe's passes over the data give too few tokens"
    fed, lacking = split(fits, budget, lambda sized: grid.has_data(sized, budget), few)
    few = f"a run of fewer than {LEAST_STEPS} steps teaches nothing"
    added, useless = split(fed, budget, lambda sized: grid.is_long(sized, budget), few)
    none = "no size beyond it can be added" if beyond else "there is no size beyond it to try"
    outcome = "sizes beyond it are added" if added else none
    code = "extended-at-edge" if added else "edge-not-extended"
    edge = BudgetNote(code, budget, f"has its lowest loss at the edge: {outcome}.")
    notes = [edge, *too_large, *lacking, *useless]
    return added, (*notes, *(note for sized in added for note in sized.notes))


def _beyond_edge(grid: Grid, runs: Sequence[Run]) -> list[SizeCount] | None:
    """Sizes beyond the edge with the lowest loss; None where the lowest loss is inside."""
    curves = valleys(runs)
    if not curves or curves[0].interior:
        return None
    tried = sorted({run.num_params for run in runs})
    losses = {run.num_params: run.loss for run in curves[0].runs}
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
    return sorted(
        filter(is_new, grid.sizes.several_near(wanted)), key=lambda sized: sized.num_params
    )


def _near_failed(grid: Grid, num_params: float, step: float) -> bool:
    """True within half a step of a size that failed: one beside it would only fail again."""
    return any(
        abs(math.log(num_params / failed)) < 0.5 * math.log(step) for failed in grid.failed.values()
    )
