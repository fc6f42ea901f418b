"""A law of one's own: one file, and `Parametric(law=...)` fits it."""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.laws.additive import ChinchillaLaw, additive_formula
from isoflop.laws.base import Array, CostPerToken, Number, Surface
from isoflop.laws.objective import Posed, Term
from isoflop.laws.points import Points


@dataclass(frozen=True)
class HalfLaw(Surface):
    """L = E + A / N^alpha + B / D^(alpha / 2): data count half as fast as params."""

    E: Number = math.nan
    A: Number = math.nan
    B: Number = math.nan
    alpha: Number = math.nan

    @property
    def additive(self) -> ChinchillaLaw:
        return ChinchillaLaw(self.E, self.A, self.B, self.alpha, self.alpha / 2)

    def loss(self, N: Number, D: Number) -> Number:
        return self.additive.loss(N, D)

    def optimum(self, C: Number, flops_per_token: CostPerToken | None = None):
        return self.additive.optimum(C, flops_per_token)

    def formula(self) -> str:
        return additive_formula(self.E, self.A, self.B, self.alpha, self.alpha / 2)

    def pose(self, points: Points) -> Posed:
        x, y = np.log(points.N), np.log(points.D)
        terms = (
            Term(np.ones(len(x))),
            Term(np.ones(len(x)), 0, x - x.mean()),
            Term(np.ones(len(x)), 0, (y - y.mean()) / 2),
        )

        def law(parameters: Array) -> HalfLaw:
            E, A, B, alpha = np.moveaxis(parameters, -1, 0)
            return HalfLaw(E, A * np.exp(alpha * x.mean()), B * np.exp(alpha / 2 * y.mean()), alpha)

        return Posed(terms, ("E", "A", "B", "alpha"), law)
