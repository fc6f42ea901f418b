"""Found: the place that answers a question, by the law of a fit and by each of its draws.

C FLOPs, N params; paid: tokens that C pays for, those trained on and what serving is worth.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.answers.conditions import Conditions
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.inverses import flops_for, require_answer
from isoflop.laws.waste import expected_waste, wasted_share

__all__ = ["Found", "Place", "find"]


@dataclass(frozen=True, eq=False)
class Place:
    """Optimum of a law, or of each law of arrays, at C FLOPs."""

    law: Law
    C: Number
    N: Number
    paid: Number
    loss: Number | None
    """None where the law says nothing about it."""
    offset: float

    @property
    def known_loss(self) -> Number:
        """The loss, where the law is one of every (N, D)."""
        assert self.loss is not None
        return self.loss

    @property
    def num_tokens(self) -> Any:
        """Tokens trained on."""
        return self.paid - self.offset

    @property
    def training_flops(self) -> Any:
        return self.C * (self.num_tokens / self.paid)


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of the law and those of its draws."""

    middle: Place
    draws: Place
    cost: CostPerToken | None
    level: float

    def estimate(self, name: str) -> Estimate:
        """A measure of the places with its interval."""
        return estimate(
            getattr(self.middle, name), np.atleast_1d(getattr(self.draws, name)), self.level
        )

    @property
    def regret(self) -> Estimate:
        """Share of C that the middle's size is expected to waste; NaN where the law says nothing about the loss."""
        N, C = float(self.middle.N), float(self.middle.C)
        wasted = wasted_share(self.draws.law, N, C, self.cost)
        if wasted is None:
            return estimate(math.nan, np.array([math.nan]), self.level)
        expected = expected_waste(self.middle.law, self.draws.law, N, C, self.cost)
        share = math.nan if expected is None else float(expected)
        return estimate(share, wasted[np.isfinite(wasted)], self.level)


def find(
    fit: Fit, conditions: Conditions, cost: CostPerToken | None, question: str, value: float
) -> Found:
    """Where `question` has `value` under some conditions. Raises DataError where nothing does."""
    law, draws = (conditions.law(each, cost) for each in (fit.law, fit.resamples))
    wanted = conditions.paid(question, value)
    if question == "flops":
        target, drawn = value, np.asarray(value)
    else:
        target, drawn = (
            require_answer(law, question, wanted, cost),
            flops_for(draws, question, wanted, cost),
        )
    places = (_place(law, target, cost, conditions), _place(draws, drawn, cost, conditions))
    return Found(*places, cost, fit.level)


def _place(law: Law, C: Number, cost: CostPerToken | None, conditions: Conditions) -> Place:
    N, paid = law.optimum(C, cost)
    return Place(law, C, N, paid, law.optimal_loss(C, cost), conditions.offset)
