"""Approach 3: one law L(N, D) through all runs (Hoffmann et al. 2022, section 3.3).

N params, D tokens, L loss, E irreducible loss.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from isoflop.errors import DataError
from isoflop.fitting.approach import Diagnostics, Solved
from isoflop.fitting.laws import ChinchillaLaw, Posed
from isoflop.fitting.objective import Problem
from isoflop.fitting.points import Array, Points
from isoflop.fitting.solvers import Solution, solve, solve_resampled

__all__ = ["Parametric", "Surface"]

HUBER = 1.345
"""delta in standard deviations of the noise; costs 5 % of the efficiency where the noise is Gaussian (Huber 1981)."""
FIRST_DELTA = 1e-3
"""Of the fit whose residuals measure the noise: small, so that far-off runs hardly move it (Hoffmann et al. 2022)."""
LEAST_DELTA = 1e-5
"""Below the rounding of published losses, so that noise-free tables are fitted by least squares."""


class Surface(Protocol):
    """A law that can be fitted to losses at any (N, D)."""

    def pose(self, points: Points) -> Posed:
        """Its terms at some points, and the way back."""
        ...


@dataclass(frozen=True)
class Parametric:
    """One law for the loss of every (N, D), fitted to all runs on log loss.

    law: which law; fields that are given, as in ChinchillaLaw(E=1.7), are held and the others fitted.
    delta: where Huber's function turns linear, in log loss; math.inf for least squares; None for 1.345 standard
        deviations of the noise, which is measured as the median absolute residual. Hoffmann et al. use 1e-3.
    """

    law: Any = field(default_factory=ChinchillaLaw)
    delta: float | None = None

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise DataError(
                f"Parametric: delta must be above 0, but got {self.delta}; leave it out to have it measured."
            )

    def solve(self, points: Points) -> Solved:
        """The law of some points; Raises DataError where there are too few."""
        posed = self.law.pose(points)
        _require_enough(points, posed)
        problem = Problem(posed.terms, points.L, posed.names, delta=self.delta or FIRST_DELTA, offset=posed.offset)
        solution = solve(problem)
        if self.delta is None:
            problem = replace(problem, delta=measured_delta(problem, solution.parameters))
            solution = replace(solve(problem, solution.parameters[None]), agreement=solution.agreement)

        def refit(weights: Array) -> Any:
            return posed.law(solve_resampled(problem, weights, solution.parameters).parameters)

        law = posed.law(solution.parameters)
        return Solved(
            law=law,
            objective=float(solution.objective),
            refit=refit,
            num_parameters=len(posed.names),
            diagnostics=_diagnostics(solution),
        )


def measured_delta(problem: Problem, parameters: Array) -> float:
    """1.345 robust standard deviations of the residuals of a fit."""
    n, Q = len(problem.target), len(problem.names)
    residual = residuals(problem, parameters)
    deviation = 1.4826 * float(np.median(np.abs(residual))) * math.sqrt(n / max(n - Q, 1))
    return max(HUBER * deviation, LEAST_DELTA)


def residuals(problem: Problem, parameters: Array) -> Array:
    """Log of the law minus log of the loss, shape (n,)."""
    return np.log(problem.model(parameters)) - np.log(problem.target)


def _diagnostics(solution: Solution) -> Diagnostics:
    return Diagnostics(bool(solution.converged), solution.agreement, solution.at_bound, solution.condition)


def _require_enough(points: Points, posed: Posed) -> None:
    configurations, needed = len(set(zip(points.N, points.D, strict=True))), len(posed.names) + 1
    if configurations < needed:
        raise DataError(
            f"Approach 3 needs at least {needed} runs of different size or tokens to fit {len(posed.names)} numbers, "
            f"but got {configurations}; add runs at other sizes and budgets."
        )
    for values, what in ((points.N, "sizes"), (points.D, "numbers of tokens")):
        if len(np.unique(values)) < 3:
            raise DataError(
                f"Approach 3 needs at least 3 different {what}, but got {len(np.unique(values))}; "
                f"add runs at other {what}."
            )
