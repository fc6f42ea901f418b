"""Sizes of a task near a number of params, with their costs."""

from dataclasses import replace

from isoflop.counting.counting import SizeCount, count_or_reason, try_count
from isoflop.counting.lattice import builds, by_distance
from isoflop.counting.trials import num_params_at
from isoflop.errors import PlanError
from isoflop.notes.note import Note
from isoflop.runs import SizeValue
from isoflop.task import Task

__all__ = ["size_near", "sizes_near"]


def size_near(task: Task, num_params: float, *, most: float | None = None) -> SizeCount:
    """The real size whose N is nearest to `num_params` (in ratio), and at most `most`.

    Raises PlanError if no size builds, or none is so small.
    """
    near = sizes_near(task, [num_params])[0]
    if most is None or near.num_params <= most:
        return near
    for size in by_distance(task, most, keep=8):
        if num_params_at(task, size) <= most and (counted := try_count(task, size)) is not None:
            return counted
    raise PlanError(
        f"No size of {task.size_param!r} has at most {most:.3g} params; allow smaller sizes."
    )


def sizes_near(task: Task, wanted: list[float]) -> list[SizeCount]:
    """One real size per wanted N, in the order of `wanted`, each used once; fewer if they run out.

    The first has notes on the sizes that are left out: named ones that do not build, and others
    that cannot be counted.

    Raises PlanError if none can be counted.
    """
    chosen: dict[SizeValue, SizeCount] = {}
    unbuilt = [size for size in task.sizes or () if not builds(task, size)]
    failed = {size: _left_out(size, f"it raised {count_or_reason(task, size)}") for size in unbuilt}
    for num_params in wanted:
        for size in by_distance(task, num_params, keep=len(wanted)):
            if size in chosen or size in failed:
                continue
            counted = count_or_reason(task, size)
            if isinstance(counted, SizeCount):
                chosen[size] = counted
                break
            failed[size] = _left_out(size, f"a training step of it raised {counted}")
    counts = list(chosen.values())
    if failed and not counts:
        raise PlanError(
            f"No size of {task.size_param!r} can be trained. {next(iter(failed.values()))}"
        )
    return [
        *(replace(first, notes=(*first.notes, *failed.values())) for first in counts[:1]),
        *counts[1:],
    ]


def _left_out(size: SizeValue, why: str) -> Note:
    return Note("size-left-out-error", f"Size {size} is left out: {why}.")
