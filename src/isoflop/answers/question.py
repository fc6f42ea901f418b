"""Question: one quantity with its value, under conditions; and what a token costs in its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop import arguments
from isoflop.answers.conditions.base import Conditions
from isoflop.compute.budget import flops_of
from isoflop.counting.sizes_of import sizes_of
from isoflop.display.format import format_count, format_number, join_words
from isoflop.errors import DataError
from isoflop.family import Family
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken
from isoflop.laws.cost import cost_for, counted_cost
from isoflop.laws.inverses import require_answer
from isoflop.notes.note import Note
from isoflop.planning.specs import paid_tokens
from isoflop.task import Task

__all__ = ["Question", "Values", "cost_of", "the_question"]

Values = float | str | Sequence[float | str]
"""Value of a question: a number, or several for a table."""
COUNTED = (1 / 4, 1 / 2, 1, 2, 4)
"""Sizes, relative to the optimum, on which FLOPs per token are counted."""


@dataclass(frozen=True)
class Question:
    """One quantity with its value, under some conditions.

    name: "flops", "num_params", "num_tokens" or "loss".
    """

    name: str
    value: float
    conditions: Conditions

    @classmethod
    def of(cls, name: str, value: object, conditions: Conditions) -> "Question":
        """The question of a value as users write it. Raises DataError for an impossible one."""
        if name == "flops" and isinstance(value, str):
            value = flops_of(value)
        return cls(name, float(arguments.positive(value, f"predict: {name}")), conditions)

    @property
    def paid(self) -> float:
        """The value, where tokens trained on count as tokens that compute pays for."""
        return self.value + self.conditions.offset if self.name == "num_tokens" else self.value

    @property
    def gives_training_flops(self) -> bool:
        """Whether the value is the FLOPs of training, with nothing else to pay for."""
        return self.name == "flops" and self.conditions.offset == 0


def the_question(requested: Mapping[str, object]) -> tuple[str, object]:
    """Name of the only value given, with the value or the list of values.

    Raises DataError where none or several are given, or the list has no values.
    """
    given = [(name, value) for name, value in requested.items() if value is not None]
    if len(given) != 1:
        names = join_words([name for name, _ in given]) or "none"
        raise DataError(
            f"predict answers one question at a time (flops, num_params, num_tokens or loss), but "
            f"got {names}."
        )
    name, value = given[0]
    return name, arguments.listed(value, f"predict: {name}") if arguments.several(value) else value


def cost_of(
    fit: Fit, question: Question, task: Task | Family | None
) -> tuple[CostPerToken | None, tuple[Note, ...]]:
    """FLOPs per token as a function of size, and notes about them."""
    measured = cost_for(fit.law, fit.runs)
    if task is None:
        return measured, () if measured is None else (_recorded_note(fit, measured),)
    sizes = sizes_of(task, "predict: task")
    cost, notes = measured, tuple[Note, ...]()
    for _ in range(2):  # the second time around the optimum under the counted cost
        around, target = _optimum_under(fit, question, cost)
        near = (sizes.near(around * factor) for factor in COUNTED)
        counts = [sizes.count(size) for size in dict.fromkeys(one.size for one in near)]
        per_token = [target / paid_tokens(sizes, one, target) for one in counts]
        cost = counted_cost([one.num_params for one in counts], per_token, fit.runs)
        notes = tuple(dict.fromkeys(note for count in counts for note in count.notes))
    return cost, notes


def _optimum_under(fit: Fit, question: Question, cost: CostPerToken | None) -> tuple[float, float]:
    """Params and FLOPs of the answer under a cost per token."""
    law = question.conditions.law(fit.law, cost)
    if question.name == "flops":
        target = question.paid
    else:
        target = require_answer(law, question.name, question.paid, cost)
    return float(law.optimum(target, cost)[0]), target


def _recorded_note(fit: Fit, cost: CostPerToken) -> Note:
    N = max(run.num_params for run in fit.runs)
    ratio = float(cost(np.array(N))) / (6 * N)
    text = (
        f"FLOPs are counted as the runs record them, {format_number(ratio, 2)} times 6ND at the "
        f"largest size ({format_count(N)}) and beyond it."
    )
    return Note("recorded-flops", text)
