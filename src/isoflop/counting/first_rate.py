"""The recipe of a task with the learning rate that its kind of model starts at."""

from dataclasses import replace

from isoflop.counting.lattice import smallest_size
from isoflop.counting.trials import built
from isoflop.per_task import per_task
from isoflop.recipe import PowerRule, Recipe
from isoflop.runs import SizeValue
from isoflop.starts import STARTS
from isoflop.task import Task
from isoflop.user_code.architecture import Architecture, architecture_of
from isoflop.user_code.isolation import contained

__all__ = ["recipe_of", "start_in_words"]


def recipe_of(task: Task) -> Recipe:
    """The task's recipe; in place of the learning rate "auto", the start of its kind of model.

    Raises the errors of the model's class at its smallest size.
    """
    if task.recipe.lr != "auto":
        return task.recipe
    return replace(task.recipe, lr=_rule(task))


def start_in_words(task: Task, size: SizeValue | None = None) -> str | None:
    """The rule that stands for "auto" and why; None if the learning rate is the user's own.

    size: at which the share of the params is told; None for the smallest.
    """
    if task.recipe.lr != "auto":
        return None
    kind = _kind(task)
    there = kind if size is None else _architecture(task, size)
    because = there.because if there.kind == kind.kind else kind.because
    why = f", since {because}" if kind.kind == "unknown" else f" ({because})"
    return f"{_rule(task)}: the start for {STARTS[kind.kind].models}{why}"


def _rule(task: Task) -> PowerRule:
    start = STARTS[_kind(task).kind]
    return start.of_trunks if task.recipe.branches else start.rule


def _kind(task: Task) -> Architecture:
    """The kind of a task's model, which is one for all sizes: that of the smallest."""
    return _architecture(task, smallest_size(task))


@per_task
def _architecture(task: Task, size: SizeValue) -> Architecture:
    with contained():
        return architecture_of(built(task, size))
