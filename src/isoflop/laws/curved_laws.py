"""Laws that are no sums of powers: Farseer's, and a floor with an outer power.

N params, D tokens, C FLOPs, L loss. Their numbers are fitted in centred logs, x = log N / N_0 and
y = log D / D_0, in which they hardly depend on each other; x0 and y0 are log N_0 and log D_0.
"""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.laws.base import (
    TOKENS_PER_PARAM,
    Array,
    CostPerToken,
    Number,
    Surface,
    as_code,
    cheapest_size,
    cost_of,
    plain,
    require_numbers,
)
from isoflop.laws.points import Points

__all__ = ["FarseerLaw", "OuterPowerLaw"]

REACH = 1e4
"""Factor around 20 tokens per param within which the best size is sought."""
AT_END = 1e-5
"""Log N from an end within which a search has found no minimum, but run into it."""
LEAST_EXPONENT = 1e-6
USUAL_DECAY = 0.35
"""Exponent of the tokens to start from."""
STEEP = 0.1
"""Slope of a start's curves in x: losses fall by about a tenth per factor of e in params."""


class _Searched(Surface):
    """A law whose optimum is found by search."""

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs; NaN where it lies at an end of what is searched."""
        cost = cost_of(flops_per_token)
        around = np.sqrt(np.asarray(C, dtype=float) / (6 * TOKENS_PER_PARAM))
        N = cheapest_size(self.loss, C, cost, around=around, reach=REACH)
        is_inside = np.abs(np.log(N / around)) < math.log(REACH) - AT_END
        N = np.where(is_inside, N, math.nan)
        return N, C / cost(N)


@dataclass(frozen=True)
class FarseerLaw(_Searched):
    """L = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^(-exp(a1 N^alpha + b1)).

    The floor, the amplitude of the data and their exponent each change with size (Li et al. 2025,
    2506.10972). Nine numbers need hundreds of runs; fit it with `Nonlinear(FarseerLaw())`.
    """

    a1: Number = math.nan
    alpha: Number = math.nan
    b1: Number = math.nan
    a2: Number = math.nan
    beta: Number = math.nan
    b2: Number = math.nan
    a3: Number = math.nan
    gamma: Number = math.nan
    b3: Number = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""
        decay = np.exp(self.a1 * np.power(N, self.alpha) + self.b1)
        data = np.exp(self.a2 * np.power(N, self.beta) + self.b2 - decay * np.log(D))
        return plain(np.exp(self.a3 * np.power(N, self.gamma) + self.b3) + data)

    def starts(self, points: Points) -> Array:
        """Parameters to start from: value, slope and exponent of each of the three curves."""
        lowest, middle = float(points.L.min()), float(np.median(points.L))
        falls = USUAL_DECAY * float(np.log(points.D).mean())
        floors = [share * lowest for share in (0.6, 0.8, 0.95)]
        return np.array(
            [
                [
                    math.log(floor), -STEEP, e,
                    math.log(middle - floor) + falls, -STEEP / 2, e,
                    math.log(USUAL_DECAY), -STEEP / 2, e,
                ]
                for floor in floors
                for e in (-0.3, 0.1)
            ]
        )  # fmt: skip

    def at(self, parameters: Array, x: Array, y: Array, y0: float) -> Array:
        """Loss at centred logs; the curve of the data's amplitude is that at D = 1."""
        p = parameters
        floor, data, decay = (_curve(p[k], p[k + 1], p[k + 2], x) for k in (0, 3, 6))
        return np.asarray(np.exp(floor) + np.exp(data - np.exp(decay) * (y + y0)))

    def of(self, parameters: Array, x0: float, y0: float) -> "FarseerLaw":
        """The law of parameters of shape (9,) or (R, 9), centred at x0 and y0."""
        (a3, g, b3), (a2, be, b2), (a1, al, b1) = (
            _uncentred(parameters[..., k : k + 3], x0) for k in (0, 3, 6)
        )
        return FarseerLaw(*map(plain, (a1, al, b1, a2, be, b2, a3, g, b3)))


@dataclass(frozen=True)
class OuterPowerLaw(_Searched):
    """L = E + (A / N^alpha + B / D^beta)^k: Chinchilla's law with an outer power.

    With k = 1 it is Chinchilla's; with E = 0 and beta = 1, Kaplan's. Fit it with
    `Nonlinear(OuterPowerLaw())`.
    """

    E: Number = math.nan
    A: Number = math.nan
    B: Number = math.nan
    alpha: Number = math.nan
    beta: Number = math.nan
    k: Number = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""
        terms = self.A * np.power(N, -self.alpha) + self.B * np.power(D, -self.beta)
        return self.E + np.power(terms, self.k)

    def starts(self, points: Points) -> Array:
        """Parameters to start from: logs of E, of both terms and of the exponents, and of k."""
        lowest, middle = float(points.L.min()), float(np.median(points.L))
        return np.array(
            [
                [
                    math.log(share * lowest),
                    *[math.log((middle - share * lowest) / 2) / k] * 2,
                    math.log(0.4 / k),
                    math.log(0.4 / k),
                    math.log(k),
                ]
                for share in (0.4, 0.7, 0.9)
                for k in (0.5, 1.0, 2.0)
            ]
        )

    def at(self, parameters: Array, x: Array, y: Array, y0: float) -> Array:
        """Loss at centred logs."""
        E, a, b, alpha, beta, k = parameters
        terms = np.exp(a - np.exp(alpha) * x) + np.exp(b - np.exp(beta) * y)
        return np.asarray(np.exp(E) + terms ** np.exp(k))

    def of(self, parameters: Array, x0: float, y0: float) -> "OuterPowerLaw":
        """The law of parameters of shape (6,) or (R, 6), centred at x0 and y0."""
        E, a, b, alpha, beta, k = np.moveaxis(parameters, -1, 0)
        alpha, beta = np.exp(alpha), np.exp(beta)
        A, B = np.exp(a + alpha * x0), np.exp(b + beta * y0)
        return OuterPowerLaw(*map(plain, (np.exp(E), A, B, alpha, beta, np.exp(k))))


def _curve(value: Number, slope: Number, exponent: Number, x: Array) -> Array:
    """value + slope (exp(e x) - 1) / e, which is a line for e = 0."""
    e = np.where(np.abs(exponent) < LEAST_EXPONENT, LEAST_EXPONENT, exponent)
    return np.asarray(value + slope * np.expm1(e * x) / e)


def _uncentred(curve: Array, x0: float) -> tuple[Array, Array, Array]:
    """a, e and b of a N^e + b from the value, slope and exponent of a centred curve."""
    value, slope, exponent = np.moveaxis(curve, -1, 0)
    e = np.where(np.abs(exponent) < LEAST_EXPONENT, LEAST_EXPONENT, exponent)
    return slope / e * np.exp(-e * x0), e, value - slope / e
