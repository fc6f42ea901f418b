"""Laws beside Chinchilla's: equal exponents, repeated data, and Kaplan's.

N params, D tokens trained, C FLOPs, L loss, U distinct tokens.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop.errors import DataError
from isoflop.laws.additive import (
    ChinchillaLaw,
    CostPerToken,
    Posed,
    as_written,
    cheapest_size,
    require_numbers,
)
from isoflop.laws.objective import Term
from isoflop.laws.points import Array, Points

__all__ = ["DataConstrainedLaw", "KaplanLaw", "OvertrainingLaw", "worth"]


@dataclass(frozen=True)
class OvertrainingLaw:
    """L = E + A / N^alpha + B / D^alpha: one exponent, so that over-training costs the same at every scale.

    Gadre et al. 2024, eq. 4, with eta = alpha / 2: in tokens per param M = D / N and C = 6ND it is
    L = E + (a M^eta + b M^-eta) C^-eta. One number fewer than Chinchilla's law, for sweeps that are too small for it.
    """

    E: Any = math.nan
    A: Any = math.nan
    B: Any = math.nan
    alpha: Any = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_written(self)

    @property
    def chinchilla(self) -> ChinchillaLaw:
        """The same law with its exponent written twice."""
        return ChinchillaLaw(self.E, self.A, self.B, self.alpha, self.alpha)

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens."""
        return self.chinchilla.loss(N, D)

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for."""
        return self.chinchilla.optimum(C, flops_per_token)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        return self.chinchilla.optimal_loss(C, flops_per_token)

    def pose(self, points: Points) -> Posed:
        """The problem of fitting all four numbers."""
        if not all(np.isnan(value) for value in (self.E, self.A, self.B, self.alpha)):
            raise DataError(
                "OvertrainingLaw: its numbers are all fitted; give them to ChinchillaLaw to hold some."
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
class DataConstrainedLaw:
    """Chinchilla's law in effective params and tokens, which repetition makes fewer than those trained.

    D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), and the same for the params beyond those that U tokens are optimal for
    (Muennighoff et al. 2023, eqs. 5-7; R_D and R_N as fitted there). Runs say U by their number of epochs. Only E, A,
    B, alpha and beta are fitted; `unique` is the U that answers are wanted for.
    """

    E: Any = math.nan
    A: Any = math.nan
    B: Any = math.nan
    alpha: Any = math.nan
    beta: Any = math.nan
    unique: float = math.inf
    """Distinct tokens that there are."""
    R_D: float = 15.39
    """Repetitions over which tokens lose their worth."""
    R_N: float = 5.31
    """The same for params in excess."""
    tokens_per_param: float = 20.0
    """Of the size that U tokens are optimal for."""

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_written(self)

    @property
    def chinchilla(self) -> ChinchillaLaw:
        """The law of effective params and tokens."""
        return ChinchillaLaw(self.E, self.A, self.B, self.alpha, self.beta)

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens, of which `unique` are distinct."""
        return self.chinchilla.loss(*self._effective(N, D, np.minimum(D, self.unique)))

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs and `unique` tokens pay for."""
        cost = flops_per_token if flops_per_token is not None else lambda N: 6 * N
        free, _ = self.chinchilla.optimum(C, flops_per_token)
        N = free if math.isinf(self.unique) else cheapest_size(self.loss, C, cost, around=free)
        return N, C / cost(N)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        return self.loss(*self.optimum(C, flops_per_token))

    def pose(self, points: Points) -> Posed:
        """The problem of fitting the law to effective params and tokens."""
        N, D = self._effective(points.N, points.D, points.unique)
        posed = self.chinchilla.pose(replace(points, N=N, D=D))

        def law(parameters: Array) -> DataConstrainedLaw:
            found = posed.law(parameters)
            return replace(
                self, **{name: getattr(found, name) for name in ("E", "A", "B", "alpha", "beta")}
            )

        return replace(posed, law=law)

    def _effective(self, N: Any, D: Any, unique: Any) -> tuple[Any, Any]:
        """Effective params and tokens; those trained where no token is repeated."""
        fitting = np.where(np.less(unique, D), np.minimum(unique / self.tokens_per_param, N), N)
        return worth(N, fitting, self.R_N), worth(D, np.minimum(unique, D), self.R_D)


@dataclass(frozen=True)
class KaplanLaw:
    """L = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D: no irreducible loss (Kaplan et al. 2020, eq. 1.5).

    >>> law = KaplanLaw(N_c=6.4e13, D_c=1.8e13, alpha_N=0.076, alpha_D=0.103)
    >>> N, D = law.optimum(1e21)
    >>> f"{N:.2e} {D:.2e} {law.loss(N, D):.3f}"
    '6.23e+09 2.67e+10 2.136'
    """

    N_c: Any = math.nan
    D_c: Any = math.nan
    alpha_N: Any = math.nan
    alpha_D: Any = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_written(self)

    @property
    def root(self) -> ChinchillaLaw:
        """L^(1 / alpha_D), lowest where L is."""
        ratio = self.alpha_N / self.alpha_D
        return ChinchillaLaw(0.0, np.power(self.N_c, ratio), self.D_c, ratio, 1.0)

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens."""
        return self.root.loss(N, D) ** self.alpha_D

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for."""
        return self.root.optimum(C, flops_per_token)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        return self.loss(*self.optimum(C, flops_per_token))

    def pose(self, points: Points) -> Posed:
        """The problem of fitting all four numbers: u (a exp(-p n) + b exp(-d))^q, with n and d centred logs."""
        if not all(np.isnan(value) for value in (self.N_c, self.D_c, self.alpha_N, self.alpha_D)):
            raise DataError("KaplanLaw: its numbers are all fitted; leave them out.")
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


def worth(total: Any, first: Any, repetitions: float) -> Any:
    """What is left of a total whose first part counts in full and whose repetitions wear off."""
    return first + first * repetitions * -np.expm1(-(total / first - 1) / repetitions)
