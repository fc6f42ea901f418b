"""per_task(): results that are kept for as long as their task lives, and freed with it."""

from collections.abc import Callable, Hashable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from isoflop.task import Task

__all__ = ["per_task"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def per_task(
    function: Callable[Concatenate[Task, Arguments], Result],
) -> Callable[Concatenate[Task, Arguments], Result]:
    """A function of a task and hashable arguments that computes each result once per task.

    Tasks are compared by identity. A cache of the module's own would keep every task's data sets
    in memory until the process ends.
    """
    results: WeakKeyDictionary[Task, dict[Hashable, Result]] = WeakKeyDictionary()

    def kept(task: Task, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        known = results.setdefault(task, {})
        key = (args, tuple(sorted(kwargs.items())))
        if key not in known:
            known[key] = function(task, *args, **kwargs)
        return known[key]

    return update_wrapper(kept, function)
