"""ServedTokens: compute pays for serving too; and what over-training costs and saves then."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isoflop import arguments
from isoflop.answers.conditions.base import Condition, Effect, Order
from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.laws.base import CostPerToken, Number, Surface
from isoflop.laws.inverses import flops_for
from isoflop.laws.served import FORWARD_SHARE, ServedLaw

__all__ = ["ServedTokens", "Serving"]


@dataclass(frozen=True, kw_only=True)
class Serving(Effect):
    """Serving `tokens` with the answer's model, beside the compute-optimal run of the same loss."""

    leads: ClassVar[bool] = True
    tokens: float
    training: Estimate
    """FLOPs of training."""
    serving: Estimate
    """FLOPs of serving: a third of training's for each token."""
    total: Estimate
    """FLOPs of both."""
    overtraining: Estimate
    """Tokens per param, as a multiple of the compute-optimal run's."""
    extra_training: Estimate
    """FLOPs of training beyond the compute-optimal run's, as a share of those."""
    saved: Estimate
    """FLOPs saved in all, as a share of training and serving the compute-optimal run."""

    def headline(self, unit: str) -> str:
        """First words of the printed answer."""
        served, total = format_count(self.tokens), format_flops(self.total.value)
        return f"Cheapest to train and to serve {served} {unit}s: {total} FLOPs in all"

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the printed answer: quantity, value, interval."""
        shown: list[tuple[str, Estimate, Callable[[float], str]]] = [
            ("FLOPs in all", self.total, format_flops),
            ("of training", self.training, format_flops),
            ("of serving", self.serving, format_flops),
            ("over-training", self.overtraining, _times),
            ("extra training", self.extra_training, format_percent),
            ("saved in all", self.saved, format_percent),
        ]
        return [
            (name, write(value.value), format_interval(value.low, value.high, write))
            for name, value, write in shown
        ]


@dataclass(frozen=True)
class ServedTokens(Condition):
    """Compute pays for training the model and for serving `tokens` with it."""

    argument: ClassVar[str] = "served_tokens"
    effect_name: ClassVar[str] = "serving"
    order: ClassVar[Order] = Order.COMPUTE
    tokens: float

    @classmethod
    def of(cls, value: object) -> "ServedTokens":
        """The condition of a number such as "1T". Raises DataError for anything else."""
        return cls(float(arguments.count(value, "predict: served_tokens")))

    @property
    def offset(self) -> float:
        """Training tokens that cost as much as serving does."""
        return self.tokens * FORWARD_SHARE

    def law(self, law: Surface, cost: CostPerToken | None) -> ServedLaw:
        """The law under compute that pays for serving too."""
        return ServedLaw(law, self.tokens)

    def refusal(self, place: LawOptimum) -> str:
        """Compute does not pay for both training and serving."""
        return (
            f"predict: {format_flops(float(place.C))} FLOPs must pay for training and for serving "
            f"{format_count(self.tokens)} tokens, but the best model for both would have "
            f"{format_count(float(place.N))} params, far beyond the reach of the law; give "
            f"more compute, or fewer served_tokens."
        )

    def effect(self, outcome: Outcome) -> Serving:
        """Prices for the law, with intervals from those of its draws."""
        values, draws = (
            self._prices(place, outcome.cost) for place in (outcome.middle, outcome.draws)
        )
        if not math.isfinite(float(values["saved"])):
            raise DataError(self.refusal(outcome.middle))
        estimates = {
            name: estimate(float(value), np.atleast_1d(draws[name]), outcome.level)
            for name, value in values.items()
        }
        return Serving(tokens=self.tokens, **estimates)

    def _prices(self, place: LawOptimum, cost: CostPerToken | None) -> Mapping[str, Number]:
        """The numbers of a `Serving` for one law, or for a law of arrays."""
        training_alone, offset = place.law_before(self), place.offset
        plain = flops_for(training_alone, "loss", place.known_loss, cost)
        plain_N, plain_D = training_alone.optimum(plain, cost)
        training = place.C * (1 - offset / place.paid)
        return {
            "training": training,
            "serving": place.C * offset / place.paid,
            "total": place.C,
            "overtraining": (place.paid - offset) / place.N / (plain_D / plain_N),
            "extra_training": training / plain - 1,
            "saved": 1 - place.C / (plain * (1 + offset / plain_D)),
        }


def _times(factor: float) -> str:
    return f"{format_number(factor)}x"
