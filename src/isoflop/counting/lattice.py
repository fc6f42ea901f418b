"""The sizes of a task that build: all multiples of the smallest step that works, or those that the task names."""

import math
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any

import numpy as np

from isoflop.counting.search import largest_below
from isoflop.counting.trials import FIRST, is_large, num_params_at, trial
from isoflop.errors import ContractError, IsoflopError, PlanError, first_line
from isoflop.per_task import per_task
from isoflop.task import Task

__all__ = ["builds", "by_distance", "sizes_between", "smallest_size"]


def sizes_between(task: Task, low: float, high: float, number: int) -> list[Any]:
    """About `number` sizes that build, evenly spaced in log, from the nearest to N = low to that of high; rising.

    Only params are counted, and hardly more models are built than are given.
    """
    if task.sizes is not None:
        built = sorted(
            (size for size in task.sizes if builds(task, size)),
            key=lambda size: num_params_at(task, size),
        )
        inside = [size for size in built if low <= num_params_at(task, size) <= high] or built
        rows = np.linspace(0, len(inside) - 1, min(number, len(inside))).round().astype(int)
        return [inside[row] for row in dict.fromkeys(rows.tolist())]
    step = _lattice(task)
    first, last = (
        largest_below(_params_of_multiple(task, step), num_params) for num_params in (low, high)
    )
    multiples = np.unique(np.geomspace(first, last, number).round().astype(int))
    return [step * k for k in multiples.tolist() if builds(task, step * k)]


def smallest_size(task: Task) -> Any:
    """The smallest size that builds and takes a batch."""
    if task.sizes is not None:
        built = [size for size in task.sizes if builds(task, size)]
        if not built:
            raise PlanError(_no_size_message(task))
        rising = sorted(built, key=lambda size: num_params_at(task, size))
        return next((size for size in rising if _works(task, size)), rising[0])
    return _lattice(task)


def by_distance(task: Task, num_params: float, keep: int) -> Iterator[Any]:
    """The sizes nearest to an N, nearest first; models are built only as far as they are asked for."""

    def distance(size: Any) -> float:
        return abs(math.log(num_params_at(task, size) / num_params))

    if task.sizes is not None:
        yield from sorted((size for size in task.sizes if builds(task, size)), key=distance)
        return
    step = _lattice(task)
    middle = largest_below(_params_of_multiple(task, step), num_params)
    below = (step * k for k in range(middle, max(0, middle - keep - 1), -1))
    above = (step * k for k in range(middle + 1, middle + keep + 2))
    sides = ((size for size in side if builds(task, size)) for side in (below, above))
    yielded = set[int]()
    for size in merge(*sides, key=distance):
        if (
            num_params_at(task, size) not in yielded
        ):  # a model that grows no further is the same at more sizes
            yielded.add(num_params_at(task, size))
            yield size


def _params_of_multiple(task: Task, step: int) -> Callable[[int], float]:
    """N of size k x step as a function of k; infinite where it does not build."""
    return lambda k: num_params_at(task, step * k) if builds(task, step * k) else math.inf


@per_task
def _lattice(task: Task) -> Any:
    """The smallest g for which sizes g, 2g and 3g all work and grow: all its multiples are taken as sizes.

    Heads and groups make a width divisible by some g. Powers of two, then three, five and seven times them, are tried
    first; the first that works is then divided by its primes for as long as it goes on working.

    Raises PlanError where none works.
    """
    tries = [odd * 2**k for odd in (1, 3, 5, 7) for k in range(11)]
    found = next((g for g in tries if _multiples_work(task, g)), None)
    if found is None:
        raise PlanError(_no_size_message(task))
    for prime in (2, 3, 5, 7):
        while found % prime == 0 and _multiples_work(task, found // prime):
            found //= prime
    return found


def _multiples_work(task: Task, step: int) -> bool:
    sizes = [step * k for k in (1, 2, 3)]
    if not all(_works(task, size) for size in sizes):
        return False
    params = [num_params_at(task, size) for size in sizes]
    if not params[0] < params[1] < params[2]:
        raise ContractError(
            f"The size parameter {task.size_param!r} must make the model larger, but sizes {step}, {2 * step} and "
            f"{3 * step} have {params[0]}, {params[1]} and {params[2]} params; name another parameter, or sizes=."
        )
    return True


def _works(task: Task, size: Any) -> bool:
    """True where the model builds and takes a batch; of one too large to be tried on the CPU, where it builds."""
    return builds(task, size) and (is_large(task, size) or _trains(task, size))


def _trains(task: Task, size: Any) -> bool:
    try:
        trial(task, size, FIRST)
    except IsoflopError:
        raise
    except Exception:  # any error of the user's class at this size means: not a size
        return False
    return True


def builds(task: Task, size: Any) -> bool:
    """True where the model builds at a size. A broken contract is raised."""
    try:
        return num_params_at(task, size) > 0
    except IsoflopError:
        raise
    except Exception:
        return False


def _no_size_message(task: Task) -> str:
    size = 64 if task.sizes is None else task.sizes[0]
    try:
        trial(task, size, FIRST)
        reason = "nothing"
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error) or 'no reason'}"
    if task.sizes is not None:
        return f"None of the sizes of Task(sizes=) builds: {size!r} raises {reason}; name sizes that do."
    why = f"at size 64 it raises {reason}"
    if reason == "nothing":
        why = "no step between sizes works throughout (for example, only powers of two do)"
    return f"No size of {task.size_param!r} was found that builds and takes a batch: {why}; give Task(sizes=[...])."
