"""KrigedLaw: what kriging answers with, a law whose optimum and loss include the discrepancy.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y.
"""

import math
from dataclasses import InitVar, dataclass, replace
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop.fitting.kriging.posterior import Surfaces
from isoflop.laws.additive import Valley, additive_formula, additive_valley
from isoflop.laws.base import Array, Number, Surface
from isoflop.laws.valley import ValleyLaw, looked_up

__all__ = ["KrigedLaw", "for_search", "law_of"]


@dataclass(frozen=True, eq=False)
class KrigedLaw(ValleyLaw):
    """The law under a discrepancy, with numbers for the posterior's middle or arrays of shape (B,) for its draws.

    E, A, B, alpha, beta: the law's; the optimum and its loss include the discrepancy, so they are not the law's alone.
    """

    E: Number
    A: Number
    B: Number
    alpha: Number
    beta: Number
    surfaces: InitVar[Surfaces]
    from_table: InitVar[bool] = False

    def formula(self) -> str:
        """The law, and that a discrepancy comes on top."""
        law = additive_formula(self.E, self.A, self.B, self.alpha, self.beta)
        return f"{law}, with a smooth discrepancy"

    def __str__(self) -> str:
        return self.formula()

    def __post_init__(self, surfaces: Surfaces, from_table: bool) -> None:
        object.__setattr__(self, "_surfaces", surfaces)
        object.__setattr__(self, "_from_table", from_table or np.ndim(self.E) == 0)

    def _guess(self, C: Number) -> Array:
        """Best N of the law without the discrepancy, which costs no kriging."""
        c = np.log(np.asarray(C, dtype=float) / 6)
        return np.exp(additive_valley(self.E, self.A, self.B, self.alpha, self.beta, c).x)

    def _computed_valley(self, log_ND: Array) -> Valley:
        surfaces = self.given
        shift = sum(surfaces.plane.middle)
        if self.__dict__["_from_table"]:
            x, loss, reducible = looked_up(self._table, log_ND - shift)
        else:
            found = surfaces.valley(log_ND - shift)
            x, loss, reducible = found.x, found.loss, found.reducible
        return Valley(x + surfaces.plane.middle[0], loss, reducible)

    @property
    def errors(self) -> tuple[float, float]:
        """Noise of a run and size of the discrepancy, as shares of the loss; of a posterior's draws."""
        return self.given.errors

    @property
    def given(self) -> Surfaces:
        """The surfaces that the law stands for."""
        surfaces: Surfaces = self.__dict__["_surfaces"]
        return surfaces

    @cached_property
    def _table(self) -> PchipInterpolator:
        """Log N, loss and reducible loss as functions of c: medians over the surfaces, or each surface's."""
        c = self.given.plane.c
        inside = np.arange(c.min() - 1, c.max() + 1.5, 0.35)
        outside = np.array([1, 2, 4, 8, 15, 30, 50])
        places = np.concatenate([inside[0] - outside[::-1], inside, inside[-1] + outside])
        found = self.given.valley(places[:, None])
        values = np.stack([found.x, found.loss, found.reducible], axis=1)
        return PchipInterpolator(
            places, np.median(values, axis=2) if np.ndim(self.E) == 0 else values
        )


def law_of(surfaces: Surfaces, *, middle: bool) -> KrigedLaw:
    """The law of some surfaces in params and tokens: arrays, or the middle of them as numbers."""
    x, y = surfaces.plane.middle
    A, B = surfaces.A * np.exp(surfaces.alpha * x), surfaces.B * np.exp(surfaces.beta * y)
    if not middle:
        return KrigedLaw(surfaces.E, A, B, surfaces.alpha, surfaces.beta, surfaces)
    alpha, beta = float(np.median(surfaces.alpha)), float(np.median(surfaces.beta))
    size, data = (
        float(np.median(surfaces.A)) * math.exp(alpha * x),
        float(np.median(surfaces.B)) * math.exp(beta * y),
    )
    return KrigedLaw(float(np.median(surfaces.E)), size, data, alpha, beta, surfaces)


def for_search(law: Surface) -> Surface:
    """The law for searches that ask thousands of times: a kriged one of arrays looks its valleys up in a table."""
    return replace(law, surfaces=law.given, from_table=True) if isinstance(law, KrigedLaw) else law
