"""KrigedLaw: the law of kriging, whose optimum and loss include the discrepancy.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y.
"""

import math
from dataclasses import InitVar, dataclass, replace
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from isoflop.fitting.kriging.posterior import Surfaces
from isoflop.laws.additive import IsoflopOptimum, additive_formula, additive_optimum
from isoflop.laws.base import Array, Number, Surface
from isoflop.laws.valley import ValleyLaw, interpolate_table

__all__ = ["KrigedLaw", "for_search", "law_of"]


@dataclass(frozen=True, eq=False)
class KrigedLaw(ValleyLaw):
    """An additive law with a discrepancy.

    Its numbers are floats for the posterior's middle, or arrays of shape (B,) for its draws. The
    optimum and its loss include the discrepancy, so that they differ from those of E, A, B, alpha
    and beta alone.
    """

    E: Number
    A: Number
    B: Number
    alpha: Number
    beta: Number
    surfaces: InitVar[Surfaces]
    from_table: InitVar[bool] = False

    def formula(self) -> str:
        """The additive law in rounded numbers, with a mention of the discrepancy."""
        law = additive_formula(self.E, self.A, self.B, self.alpha, self.beta)
        return f"{law}, with a smooth discrepancy"

    def __str__(self) -> str:
        return self.formula()

    def __post_init__(self, surfaces: Surfaces, from_table: bool) -> None:
        object.__setattr__(self, "_surfaces", surfaces)
        object.__setattr__(self, "_from_table", from_table or np.ndim(self.E) == 0)

    def _guess(self, C: Number) -> Array:
        """Best N of the law without the discrepancy, which needs no kriging."""
        c = np.log(np.asarray(C, dtype=float) / 6)
        return np.exp(additive_optimum(self.E, self.A, self.B, self.alpha, self.beta, c).x)

    def _computed_valley(self, log_ND: Array) -> IsoflopOptimum:
        surfaces = self.given_surfaces
        shift = sum(surfaces.plane.middle)
        if self.__dict__["_from_table"]:
            x, loss, reducible = interpolate_table(self._table, log_ND - shift)
        else:
            optimum = surfaces.valley(log_ND - shift)
            x, loss, reducible = optimum.x, optimum.loss, optimum.reducible
        return IsoflopOptimum(x + surfaces.plane.middle[0], loss, reducible)

    @property
    def errors(self) -> tuple[float, float]:
        """Noise of a run and size of the discrepancy, as shares of the loss; for draws only."""
        return self.given_surfaces.errors

    @property
    def given_surfaces(self) -> Surfaces:
        """The surfaces that make up the law."""
        surfaces: Surfaces = self.__dict__["_surfaces"]
        return surfaces

    @cached_property
    def _table(self) -> PchipInterpolator:
        """Log N, loss and reducible loss over c: medians over the surfaces, or of each surface."""
        c = self.given_surfaces.plane.c
        inside = np.arange(c.min() - 1, c.max() + 1.5, 0.35)
        outside = np.array([1, 2, 4, 8, 15, 30, 50])
        nodes = np.concatenate([inside[0] - outside[::-1], inside, inside[-1] + outside])
        optimum = self.given_surfaces.valley(nodes[:, None])
        values = np.stack([optimum.x, optimum.loss, optimum.reducible], axis=1)
        return PchipInterpolator(
            nodes, np.median(values, axis=2) if np.ndim(self.E) == 0 else values
        )


def law_of(surfaces: Surfaces, *, middle: bool) -> KrigedLaw:
    """The law of surfaces, in params and tokens: one of arrays, or their middle in numbers."""
    x, y = surfaces.plane.middle
    A, B = surfaces.A * np.exp(surfaces.alpha * x), surfaces.B * np.exp(surfaces.beta * y)
    if not middle:
        return KrigedLaw(surfaces.E, A, B, surfaces.alpha, surfaces.beta, surfaces)
    alpha, beta = float(np.median(surfaces.alpha)), float(np.median(surfaces.beta))
    E, a, b = (float(np.median(values)) for values in (surfaces.E, surfaces.A, surfaces.B))
    return KrigedLaw(E, a * math.exp(alpha * x), b * math.exp(beta * y), alpha, beta, surfaces)


def for_search(law: Surface) -> Surface:
    """The law for searches that evaluate it thousands of times.

    A kriged law of arrays then interpolates its optima from a table.
    """
    if not isinstance(law, KrigedLaw):
        return law
    return replace(law, surfaces=law.given_surfaces, from_table=True)
