"""Condition: a constraint on an answer besides compute; and the conditions of one question."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.fitting.fit import Fit
from isoflop.fitting.kriging.law import for_search
from isoflop.laws.base import CostPerToken, Law, Surface
from isoflop.notes.note import Note

__all__ = ["Condition", "Conditions", "Effect", "Order"]


class Order(IntEnum):
    """When a condition's law is applied; conditions of the same order keep theirs."""

    DATA = 1
    """First: what training tokens are worth. N params, D tokens trained on."""
    COMPUTE = 2
    """Second: what compute pays for. From here on, D counts all tokens paid for."""
    LIMIT = 3
    """Last: which (N, D) are allowed."""


class Effect:
    """What a condition adds to an answer. A dataclass: its fields are its JSON values."""

    leads: ClassVar[bool] = False
    """Whether its rows come first and replace the one of FLOPs."""

    def headline(self, unit: str) -> str | None:
        """First words of the printed answer; None for the usual ones."""
        return None

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the printed answer: quantity, value, interval."""
        return []


class Condition:
    """A constraint on an answer besides compute. Subclass it and override what differs."""

    argument: ClassVar[str] = "conditions"
    """The argument of `predict` that errors name."""
    effect_name: ClassVar[str] = ""
    """Key of its effect in `Optimum.effects` and in JSON."""
    order: ClassVar[Order] = Order.DATA

    @property
    def offset(self) -> float:
        """Training tokens that cost as much as the condition does."""
        return 0.0

    @property
    def most_params(self) -> float | None:
        """Largest number of params allowed; None for no limit."""
        return None

    def check(self, question: str, value: float) -> None:
        """Raise DataError where the question contradicts the condition."""

    def law(self, law: Surface, cost: CostPerToken | None) -> Surface:
        """The law under this condition, given the law without it."""
        return law

    def refusal(self, place: LawOptimum) -> str | None:
        """Why no model meets the condition there; None for the usual words."""
        return None

    def fixed(self, place: LawOptimum) -> frozenset[str]:
        """Names of the estimates that the condition alone determines: they need no width."""
        return frozenset()

    def effect(self, outcome: Outcome) -> Effect | None:
        """What it adds to the answer. Raises DataError where the answer is impossible."""
        return None

    def notes(self, outcome: Outcome, fit: Fit) -> tuple[Note, ...]:
        """Reasons to doubt the answer that the condition brings."""
        return ()


@dataclass(frozen=True)
class Conditions:
    """The conditions of one question."""

    given: tuple[Condition, ...] = ()

    @property
    def in_order(self) -> tuple[Condition, ...]:
        """The conditions in the order in which their laws are applied."""
        return tuple(sorted(self.given, key=lambda condition: condition.order))

    @property
    def offset(self) -> float:
        """Training tokens that cost as much as the conditions do."""
        return sum(condition.offset for condition in self.given)

    @property
    def most_params(self) -> float | None:
        """The smallest of the limits on the number of params; None without one."""
        limits = (condition.most_params for condition in self.given)
        return min((limit for limit in limits if limit is not None), default=None)

    def check(self, fit: Fit, question: str, value: float) -> None:
        """Raise DataError where the fit or the question does not go with the conditions."""
        for condition in self.given:
            if not isinstance(fit.law, Surface):
                raise DataError(
                    f"predict: {condition.argument} needs a law of the loss at any params and "
                    f"tokens, but {quoted(fit.approach)} gives the compute-optimal ones alone; "
                    f"fit with Kriging() or Parametric()."
                )
            condition.check(question, value)

    def laws(self, law: Law, cost: CostPerToken | None) -> tuple[Law, ...]:
        """The law, then the law after each condition in order."""
        if not self.given:
            return (law,)
        assert isinstance(law, Surface)
        laws = [for_search(law)]
        for condition in self.in_order:
            laws.append(condition.law(laws[-1], cost))
        return tuple(laws)

    def law(self, law: Law, cost: CostPerToken | None) -> Law:
        """The law under all conditions; its tokens are those trained on and `offset`."""
        return self.laws(law, cost)[-1]

    def refusal(self, place: LawOptimum) -> str | None:
        """The first condition's words for why no model meets it."""
        return next(filter(None, (one.refusal(place) for one in self.given)), None)

    def fixed(self, place: LawOptimum) -> frozenset[str]:
        """Names of the estimates that the conditions determine."""
        return frozenset[str]().union(*(one.fixed(place) for one in self.given))

    def effects(self, outcome: Outcome) -> dict[str, Effect]:
        """What the conditions add to an answer, by name."""
        effects = ((one.effect_name, one.effect(outcome)) for one in self.given)
        return {name: effect for name, effect in effects if effect is not None}

    def notes(self, outcome: Outcome, fit: Fit, orders: Sequence[Order]) -> tuple[Note, ...]:
        """Notes of the conditions of some orders."""
        chosen = [condition for condition in self.in_order if condition.order in orders]
        return tuple(note for condition in chosen for note in condition.notes(outcome, fit))
