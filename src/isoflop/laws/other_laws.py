"""Laws other than Chinchilla's: equal exponents, repeated data, and Kaplan's law.

N params, D tokens trained, C FLOPs, L loss, U distinct tokens.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from isoflop.errors import DataError
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import (
    TOKENS_PER_PARAM,
    Array,
    CostPerToken,
    Number,
    Surface,
    as_code,
    cheapest_size,
    cost_of,
    require_numbers,
)
from isoflop.laws.objective import Posed, Term
from isoflop.laws.points import Points

__all__ = [
    "PUBLISHED_RATES",
    "DataConstrainedLaw",
    "KaplanLaw",
    "OvertrainingLaw",
    "effective_total",
    "losses_of",
]

PUBLISHED_RATES = (15.39, 5.31)
"""R_D and R_N of Muennighoff et al. 2023 (2305.16264)."""


@dataclass(frozen=True)
class OvertrainingLaw(Surface):
    """L = E + A / N^alpha + B / D^alpha: one exponent for size and data.

    Over-training then costs the same at every scale (Gadre et al. 2024, eq. 4, with
    eta = alpha / 2): in tokens per param M = D / N and C = 6ND,
    L = E + (a M^eta + b M^-eta) C^-eta. The law has one number fewer than Chinchilla's, for sweeps
    that are too small for that one.
    """

    E: Number = math.nan
    A: Number = math.nan
    B: Number = math.nan
    alpha: Number = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    @property
    def chinchilla(self) -> ChinchillaLaw:
        """The same law with its exponent written twice."""
        return ChinchillaLaw(self.E, self.A, self.B, self.alpha, self.alpha)

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""
        return self.chinchilla.loss(N, D)

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs."""
        return self.chinchilla.optimum(C, flops_per_token)

    def pose(self, points: Points) -> Posed:
        """The problem of fitting all four numbers."""
        if not all(np.isnan(value) for value in (self.E, self.A, self.B, self.alpha)):
            raise DataError(
                "OvertrainingLaw: no number can be held, but some were given; leave them out, "
                "or hold them in ChinchillaLaw."
            )
        ones, logs = np.ones(len(points)), (np.log(points.N), np.log(points.D))
        middle = [each.mean() for each in logs]
        terms = (
            Term(ones),
            *(Term(ones, 0, each - centre) for each, centre in zip(logs, middle, strict=True)),
        )

        def law(parameters: Array) -> OvertrainingLaw:
            E, a, b, alpha = np.moveaxis(parameters, -1, 0)
            return OvertrainingLaw(
                E, a * np.exp(alpha * middle[0]), b * np.exp(alpha * middle[1]), alpha
            )

        return Posed(terms, ("E", "A", "B", "alpha"), law)


@dataclass(frozen=True)
class DataConstrainedLaw(Surface):
    """Chinchilla's law in effective params and tokens, which allow for repeated data.

    D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)) effective tokens; params beyond those for which U
    tokens are optimal lose value in the same way (Muennighoff et al. 2023, eqs. 5-7; R_D and R_N as
    fitted there). U of a run follows from its number of epochs. Only E, A, B, alpha and beta are
    fitted; `unique` is the U of the answers.
    """

    E: Number = math.nan
    A: Number = math.nan
    B: Number = math.nan
    alpha: Number = math.nan
    beta: Number = math.nan
    unique: float = math.inf
    """Number of distinct tokens available."""
    R_D: Number = math.nan
    """Repetitions over which tokens lose their value."""
    R_N: Number = math.nan
    """The same for excess params."""
    tokens_per_param: float = TOKENS_PER_PARAM
    """Tokens per param of the size for which U tokens are optimal."""

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    @property
    def chinchilla(self) -> ChinchillaLaw:
        """The law of effective params and tokens."""
        return ChinchillaLaw(self.E, self.A, self.B, self.alpha, self.beta)

    @property
    def rates(self) -> tuple[Number, Number]:
        """R_D and R_N, the published ones where they are not given."""
        return tuple(
            published if np.ndim(given) == 0 and np.isnan(given) else given
            for given, published in zip((self.R_D, self.R_N), PUBLISHED_RATES, strict=True)
        )  # type: ignore[return-value]  # two of each

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens, of which `unique` are distinct."""
        return self.chinchilla.loss(*self.effective(N, D, np.minimum(D, self.unique)))

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs with `unique` distinct tokens."""
        cost = cost_of(flops_per_token)
        free, _ = self.chinchilla.optimum(C, flops_per_token)
        N = free if math.isinf(self.unique) else cheapest_size(self.loss, C, cost, around=free)
        return N, C / cost(N)

    def pose(self, points: Points) -> Posed:
        """The problem of fitting the law to effective params and tokens."""
        N, D = self.effective(points.N, points.D, points.unique)
        posed = self.chinchilla.pose(replace(points, N=np.asarray(N), D=np.asarray(D)))

        def law(parameters: Array) -> DataConstrainedLaw:
            fitted = posed.law(parameters)
            R_D, R_N = self.rates
            return replace(
                self,
                R_D=R_D,
                R_N=R_N,
                **{name: getattr(fitted, name) for name in ("E", "A", "B", "alpha", "beta")},
            )

        return replace(posed, law=law)

    def effective(self, N: Number, D: Number, unique: Number) -> tuple[Number, Number]:
        """Effective params and tokens; those trained where no token is repeated."""
        R_D, R_N = self.rates
        fitting = np.where(np.less(unique, D), np.minimum(unique / self.tokens_per_param, N), N)
        return effective_total(N, fitting, R_N), effective_total(D, np.minimum(unique, D), R_D)


@dataclass(frozen=True)
class KaplanLaw(Surface):
    """L = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D (Kaplan et al. 2020, eq. 1.5).

    This law has no irreducible loss.

    >>> law = KaplanLaw(N_c=6.4e13, D_c=1.8e13, alpha_N=0.076, alpha_D=0.103)
    >>> N, D = law.optimum(1e21)
    >>> f"{N:.2e} {D:.2e} {law.loss(N, D):.3f}"
    '6.23e+09 2.67e+10 2.136'
    """

    N_c: Number = math.nan
    D_c: Number = math.nan
    alpha_N: Number = math.nan
    alpha_D: Number = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_code(self)

    @property
    def root(self) -> ChinchillaLaw:
        """The law of L^(1 / alpha_D), which has the optimum of L."""
        ratio = self.alpha_N / self.alpha_D
        return ChinchillaLaw(0.0, np.power(self.N_c, ratio), self.D_c, ratio, 1.0)

    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""
        return self.root.loss(N, D) ** self.alpha_D

    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs."""
        return self.root.optimum(C, flops_per_token)

    def pose(self, points: Points) -> Posed:
        """The problem of fitting all four numbers.

        The law is posed as u (a exp(-p n) + b exp(-d))^q, with n and d centred logs.
        """
        if not all(np.isnan(value) for value in (self.N_c, self.D_c, self.alpha_N, self.alpha_D)):
            raise DataError(
                "KaplanLaw: no number can be held, but some were given; leave them out."
            )
        n, d, u = (float(np.log(values).mean()) for values in (points.N, points.D, points.L))
        terms = (Term(np.ones(len(points)), 0, np.log(points.N) - n), Term(np.exp(d) / points.D))

        def law(parameters: Array) -> KaplanLaw:
            a, b, p, q = np.moveaxis(parameters, -1, 0)
            with np.errstate(all="ignore"):  # an exponent at its bound may send N_c to infinity
                N_c, D_c = np.exp(n + (np.log(a) + u / q) / p), np.exp(d + np.log(b) + u / q)
            return KaplanLaw(*(float(v) if np.ndim(v) == 0 else v for v in (N_c, D_c, p * q, q)))

        return Posed(
            terms, ("N_c", "D_c", "alpha_N / alpha_D", "alpha_D"), law, unit=float(np.exp(u))
        )


def effective_total(total: Number, first: Number, repetitions: Number) -> Number:
    """Effective part of a total: the first part in full, its repetitions with decaying value."""
    return first + first * repetitions * -np.expm1(-(total / first - 1) / repetitions)


def losses_of(law: Surface, points: Points) -> Array:
    """Loss of each run in a law; of runs that repeat their data, in their own distinct tokens."""
    if isinstance(law, DataConstrainedLaw):
        N, D = law.effective(points.N, points.D, points.unique)
        return np.asarray(law.chinchilla.loss(N, D))
    return np.asarray(law.loss(points.N, points.D))
