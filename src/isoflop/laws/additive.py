"""The additive law L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, eq. 2), and its valley.

N params, D tokens, C FLOPs, L loss.
"""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.display.format import format_number
from isoflop.errors import DataError
from isoflop.laws.base import (
    Array,
    CostPerToken,
    Number,
    Surface,
    as_code,
    cheapest_size,
    plain,
    require_numbers,
)
from isoflop.laws.objective import Posed, Term
from isoflop.laws.points import Points

__all__ = ["ChinchillaLaw", "IsoflopOptimum", "additive_formula", "additive_optimum"]


@dataclass(frozen=True, eq=False)
class IsoflopOptimum:
    """The lowest loss along an isoFLOP."""

    x: Array
    """Log N of the best size."""
    loss: Array
    """Loss at the best size."""
    reducible: Array
    """R, which sets how fast the loss rises on either side of the best size."""


def additive_optimum(
    E: Number, A: Number, B: Number, alpha: Number, beta: Number, c: Number
) -> IsoflopOptimum:
    """The minimum of E + A exp(-alpha x) + B exp(-beta y) along x + y = c.

    x and y are logs of N and D. Where they are centred, A and B must be the amplitudes of the
    centred logs.
    """
    x = (np.log(np.divide(alpha * A, beta * B)) + beta * c) / (alpha + beta)
    R = A * np.exp(-alpha * x) + B * np.exp(-beta * (c - x))
    return IsoflopOptimum(x, E + R, R)


@dataclass(frozen=True)
class ChinchillaLaw(Surface):
    """L = E + A / N^alpha + B / D^beta.

    As an argument of `Parametric`, fields that are left out are fitted and the others are held.

    >>> law = ChinchillaLaw(E=1.817, A=477.8, B=2143.9, alpha=0.3473, beta=0.3672)
    >>> N, D = law.optimum(5.76e23)
    >>> f"{N:.2e} {D:.2e} {law.loss(N, D):.3f}"
    '7.33e+10 1.31e+12 1.974'
    """

    E: Number = math.nan
    A: Number = math.nan
    B: Number = math.nan
    alpha: Number = math.nan
    beta: Number = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""
        return self.E + self.A * np.power(N, -self.alpha) + self.B * np.power(D, -self.beta)

    @property
    def exponent(self) -> Number:
        """Exponent a of the best N in C: beta / (alpha + beta)."""
        return self.beta / (self.alpha + self.beta)

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs, where a token costs flops_per_token(N), 6N if None.

        Hoffmann et al. 2022, eq. 4, for 6N; found numerically for other costs.
        """
        with np.errstate(divide="ignore", invalid="ignore"):  # one term alone has no optimum
            N = np.exp(self.valley(np.log(np.asarray(C, dtype=float) / 6)).x)
            D = C / (6 * N)
        if flops_per_token is None:
            return N, D
        N = cheapest_size(self.loss, C, flops_per_token, around=N)
        return N, C / flops_per_token(N)

    def valley(self, log_ND: Number) -> IsoflopOptimum:
        """The lowest loss at a given log N D."""
        return additive_optimum(self.E, self.A, self.B, self.alpha, self.beta, log_ND)

    def formula(self) -> str:
        """L = E + A / N^alpha + B / D^beta in rounded numbers."""
        return additive_formula(self.E, self.A, self.B, self.alpha, self.beta)

    def pose(self, points: Points) -> Posed:
        """The problem of fitting the fields that are NaN, in logs centred on the points."""
        if not (np.isnan(self.A) and np.isnan(self.B)):
            raise DataError(
                "Parametric: only E, alpha and beta can be held at a value, but A or B was given; "
                "leave them out."
            )
        x, y = np.log(points.N), np.log(points.D)
        middle_x, middle_y = x.mean(), y.mean()
        constant = [] if _is_given(self.E) else [Term(np.ones(len(x)))]
        exponents = [name for name in ("alpha", "beta") if not _is_given(getattr(self, name))]
        terms = (
            *constant,
            _power(x - middle_x, float(self.alpha), 0),
            _power(y - middle_y, float(self.beta), len(exponents) - 1),
        )
        first = len(constant)

        def law(parameters: Array) -> ChinchillaLaw:
            fitted = dict(
                zip(exponents, np.moveaxis(parameters[..., first + 2 :], -1, 0), strict=True)
            )
            alpha, beta = fitted.get("alpha", self.alpha), fitted.get("beta", self.beta)
            E = parameters[..., 0] if constant else self.E
            A = parameters[..., first] * np.exp(alpha * middle_x)
            B = parameters[..., first + 1] * np.exp(beta * middle_y)
            return ChinchillaLaw(*map(plain, (E, A, B, alpha, beta)))

        names = (*(["E"] if constant else []), "A", "B", *exponents)
        return Posed(terms, names, law, float(self.E) if _is_given(self.E) else 0.0)


def additive_formula(E: Number, A: Number, B: Number, alpha: Number, beta: Number) -> str:
    """L = E + A / N^alpha + B / D^beta in rounded numbers, medians of arrays."""
    e, a, b, p, q = (format_number(float(np.median(value)), 4) for value in (E, A, B, alpha, beta))
    return f"L = {e} + {a} / N^{p} + {b} / D^{q}"


def _is_given(value: Number) -> bool:
    return not np.isnan(value).all()


def _power(logs: Array, held: float, exponent: int) -> Term:
    """exp(-theta logs) with theta fitted, or held at a value."""
    return (
        Term(np.exp(-held * logs)) if _is_given(held) else Term(np.ones(len(logs)), exponent, logs)
    )
