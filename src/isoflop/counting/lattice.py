"""The sizes of a task that build: multiples of the smallest step that works, or named sizes."""

import math
from collections.abc import Callable, Iterator
from heapq import merge

import numpy as np

from isoflop.counting.search import largest_below
from isoflop.counting.trials import FIRST, is_large, num_params_at, trial
from isoflop.errors import ContractError, IsoflopError, PlanError, first_line
from isoflop.per_task import per_task
from isoflop.runs import SizeValue
from isoflop.task import Task

__all__ = ["builds", "by_distance", "sizes_between", "smallest_size"]


def sizes_between(task: Task, low: float, high: float, number: int) -> list[SizeValue]:
    """About `number` sizes that build, from N = low to N = high, evenly spaced in log and rising.

    Only params are counted, and hardly more models are built than returned.
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


def smallest_size(task: Task) -> SizeValue:
    """The smallest size that builds and takes a batch."""
    if task.sizes is not None:
        built = [size for size in task.sizes if builds(task, size)]
        if not built:
            raise PlanError(_no_size_message(task))
        rising = sorted(built, key=lambda size: num_params_at(task, size))
        return next((size for size in rising if _works(task, size)), rising[0])
    return _lattice(task)


def by_distance(task: Task, num_params: float, keep: int) -> Iterator[SizeValue]:
    """The sizes nearest to an N, nearest first; models are built only as they are requested."""

    def distance(size: SizeValue) -> float:
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
        # A model that stops growing is the same at several sizes.
        if num_params_at(task, size) not in yielded:
            yielded.add(num_params_at(task, size))
            yield size


def _params_of_multiple(task: Task, step: int) -> Callable[[int], float]:
    """N of size k x step as a function of k; infinite if it does not build."""
    return lambda k: num_params_at(task, step * k) if builds(task, step * k) else math.inf


@per_task
def _lattice(task: Task) -> int:
    """The smallest g for which sizes g, 2g and 3g all work and grow; its multiples are the sizes.

    Heads and groups require widths divisible by some g. Powers of two are tried first, then three,
    five and seven times them; the first that works is divided by its primes while it still works.

    Raises PlanError if none works.
    """
    tries: list[int] = [odd * 2**k for odd in (1, 3, 5, 7) for k in range(11)]
    step = next((g for g in tries if _multiples_work(task, g)), None)
    if step is None:
        raise PlanError(_no_size_message(task))
    for prime in (2, 3, 5, 7):
        while step % prime == 0 and _multiples_work(task, step // prime):
            step //= prime
    return step


def _multiples_work(task: Task, step: int) -> bool:
    sizes = [step * k for k in (1, 2, 3)]
    if not all(_works(task, size) for size in sizes):
        return False
    params = [num_params_at(task, size) for size in sizes]
    if not params[0] < params[1] < params[2]:
        raise ContractError(
            f"The size parameter {task.size_param!r} must make the model larger, but sizes {step}, "
            f"{2 * step} and {3 * step} have {params[0]}, {params[1]} and {params[2]} params; name "
            f"another parameter, or sizes=."
        )
    return True


def _works(task: Task, size: SizeValue) -> bool:
    """True if the model builds and takes a batch; a large one (`is_large`) need only build."""
    return builds(task, size) and (is_large(task, size) or _trains(task, size))


def _trains(task: Task, size: SizeValue) -> bool:
    try:
        trial(task, size, FIRST)
    except IsoflopError:
        raise
    except Exception:  # any error of the user's class means that this is not a size
        return False
    return True


def builds(task: Task, size: SizeValue) -> bool:
    """True if the model builds at a size. Raises for a broken contract."""
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
        return (
            f"None of the sizes of Task(sizes=) builds: {size!r} raises {reason}; "
            f"name sizes that do."
        )
    why = f"at size 64 it raises {reason}"
    if reason == "nothing":
        why = "no step between sizes works throughout (for example, only powers of two do)"
    return (
        f"No size of {task.size_param!r} builds and takes a batch: {why}; give Task(sizes=[...])."
    )
