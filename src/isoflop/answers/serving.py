"""Serving: what tokens served add to an answer, and what over-training for them costs and saves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoflop.display.format import format_flops, format_interval, format_number, format_percent
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.laws.base import CostPerToken, Law, Number
from isoflop.laws.inverses import flops_for

__all__ = ["Serving", "prices", "serving_of"]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Serving `tokens` with the answer's model, beside the compute-optimal run of the same loss."""

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
    """FLOPs that training takes beyond the compute-optimal run, as a share of that run's."""
    saved: Estimate
    """FLOPs that are saved in all, as a share of those of training and serving the compute-optimal run."""

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the printed answer: what, value, interval."""
        shown: list[tuple[str, Estimate, Callable[[float], str]]] = [
            ("FLOPs in all", self.total, format_flops),
            ("of training", self.training, format_flops),
            ("of serving", self.serving, format_flops),
            ("over-training", self.overtraining, _times),
            ("extra training", self.extra_training, format_percent),
            ("saved in all", self.saved, format_percent),
        ]
        return [
            (name, write(found.value), format_interval(found.low, found.high, write))
            for name, found, write in shown
        ]


def prices(
    law: Law,
    total: Number,
    N: Number,
    paid: Number,
    loss: Number,
    offset: float,
    cost: CostPerToken | None,
) -> dict[str, Any]:
    """The numbers of a `Serving` for one law, or for a law of arrays.

    law: of training alone; total: FLOPs of both; paid: tokens trained and the `offset` that serving is worth.
    """
    plain = flops_for(law, "loss", loss, cost)
    plain_N, plain_D = law.optimum(plain, cost)
    training = total * (1 - offset / paid)
    return {
        "training": training,
        "serving": total * offset / paid,
        "total": total,
        "overtraining": (paid - offset) / N / (plain_D / plain_N),
        "extra_training": training / plain - 1,
        "saved": 1 - total / (plain * (1 + offset / plain_D)),
    }


def serving_of(
    tokens: float, values: dict[str, Any], draws: dict[str, Any], level: float
) -> Serving:
    """The prices of the law with intervals from those of its draws."""
    found = {
        name: estimate(float(values[name]), np.atleast_1d(draws[name]), level) for name in values
    }
    return Serving(tokens=tokens, **found)


def _times(factor: float) -> str:
    return f"{format_number(factor)}x"
