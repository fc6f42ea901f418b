"""Which question was asked, and what a token costs in its answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop import arguments
from isoflop.compute.budget import flops_of
from isoflop.display.format import format_count, format_number, join_words
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken
from isoflop.laws.cost import cost_for, counted_cost
from isoflop.laws.inverses import require_answer

if TYPE_CHECKING:
    from isoflop.task import Task

__all__ = ["Values", "cost_of", "read", "the_question"]

Values = float | str | Sequence[float | str]
"""What a question may be asked with: a number, or several for a table."""
COUNTED = (1 / 4, 1 / 2, 1, 2, 4)
"""Sizes next to the optimum on which FLOPs per token are counted."""


def the_question(asked: Mapping[str, Any]) -> tuple[str, Any]:
    """Name of the one that was asked, with its value or values. Raises DataError where it is not one, or has none."""
    given = [(name, value) for name, value in asked.items() if value is not None]
    if len(given) != 1:
        names = join_words([name for name, _ in given]) or "none"
        raise DataError(
            f"predict answers one question at a time (flops, num_params, num_tokens or loss), but got {names}."
        )
    name, value = given[0]
    return name, arguments.listed(value, f"predict: {name}") if arguments.several(value) else value


def read(name: str, value: Any) -> float:
    """The number of a question or a condition. Raises DataError where it cannot be one."""
    if name == "flops" and isinstance(value, str):
        value = flops_of(value)
    return float(arguments.positive(value, f"predict: {name}"))


def cost_of(
    fit: Fit,
    task: "Task | None",
    law_under: Callable[[CostPerToken | None], Any],
    question: str,
    value: float,
) -> tuple[CostPerToken | None, tuple[str, ...]]:
    """FLOPs per token as a function of size, and what is to be said about it.

    law_under: the law that answers, given a cost.
    """
    measured = cost_for(fit.law, fit.runs)
    if task is None:
        return measured, () if measured is None else (_measured_note(fit, measured),)
    from isoflop.counting.counting import count_size  # these need torch
    from isoflop.counting.sizes import size_near
    from isoflop.planning.specs import paid_tokens

    cost, notes = measured, tuple[str, ...]()
    for _ in range(2):  # the second time around the optimum under the counted cost
        law = law_under(cost)
        target = value if question == "flops" else require_answer(law, question, value, cost)
        around = float(law.optimum(target, cost)[0])
        sizes = {
            near.size: near for near in (size_near(task, around * factor) for factor in COUNTED)
        }
        counts = [count_size(task, size) for size in sizes]
        per_token = [target / paid_tokens(task, one, target) for one in counts]
        cost = counted_cost([one.num_params for one in counts], per_token, fit.runs)
        notes = tuple(dict.fromkeys(note for count in counts for note in count.notes))
    return cost, notes


def _measured_note(fit: Fit, cost: CostPerToken) -> str:
    N = max(run.num_params for run in fit.runs)
    ratio = float(cost(np.array(N))) / (6 * N)
    return (
        f"FLOPs are counted as the runs record them, {format_number(ratio, 2)} times 6ND at the largest size "
        f"({format_count(N)}) and beyond it."
    )
