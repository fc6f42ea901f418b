"""Approach 3: one law L(N, D) through all runs (Hoffmann et al. 2022, section 3.3).

N params, D tokens, L loss, E irreducible loss.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from isoflop import arguments
from isoflop.display.format import join_words, one_line, quoted
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Diagnostics, Solved
from isoflop.fitting.approaches.profile import LawRegion, gaussian_draws
from isoflop.fitting.solve.solvers import Solution, solve, solve_resampled
from isoflop.laws.additive import ChinchillaLaw, Posed
from isoflop.laws.objective import Problem
from isoflop.laws.other_laws import DataConstrainedLaw, KaplanLaw, OvertrainingLaw
from isoflop.laws.points import Array, Points, lies_on_a_line, require_enough, require_off_a_line

__all__ = ["Parametric", "Surface", "straight"]

HUBER = 1.345
"""delta in standard deviations of the noise; costs 5 % of the efficiency where the noise is Gaussian (Huber 1981)."""
FIRST_DELTA = 1e-3
"""Of the fit whose residuals measure the noise: small, so that far-off runs hardly move it (Hoffmann et al. 2022)."""
LEAST_DELTA = 1e-5
"""Below the rounding of published losses, so that noise-free tables are fitted by least squares."""


_LAWS = (ChinchillaLaw, OvertrainingLaw, DataConstrainedLaw, KaplanLaw)
LEAST_OWN_DELTA = 1e-12
LARGEST_BELIEF = 1e6


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
    prior: what is known of E, alpha or beta beforehand, as name -> (value, standard deviation).
    """

    law: Any = field(default_factory=ChinchillaLaw)
    delta: float | None = None
    prior: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.delta is not None:
            remedy = "leave it out to have it measured"
            read = arguments.number(
                self.delta, "Parametric: delta", must="above 0", holds=_is_delta, remedy=remedy
            )
            object.__setattr__(self, "delta", float(read))
        if isinstance(self.law, type) or not callable(getattr(self.law, "pose", None)):
            if not (isinstance(self.law, type) and self.law in _LAWS):
                raise arguments.refused(
                    self.law, "Parametric: law", "a law such as ChinchillaLaw()"
                )
            object.__setattr__(self, "law", self.law())
        arguments.mapping(
            self.prior, "Parametric: prior", "a dict, name -> (value, standard deviation)"
        )
        for name, value in self.prior.items():
            if name in ("A", "B", "N_c", "D_c") or not _is_belief(value):
                raise DataError(
                    f"Parametric: prior gives E, alpha or beta a value and a standard deviation above 0, "
                    f"but got {one_line(name, 40)}={quoted(value)}."
                )

    def solve(self, points: Points) -> Solved:
        """The law of some points; Raises DataError where there are too few."""
        posed = self.law.pose(points)
        _require_enough(points, posed)
        given = self._require_known_or_told_apart(points, posed)
        problem, solution = self._best(points, posed)

        def refit(weights: Array) -> Any:
            return posed.law(solve_resampled(problem, weights, solution.parameters).parameters)

        def gaussian(number: int, random: np.random.Generator) -> Any:
            return posed.law(gaussian_draws(problem, solution, points, number, random))

        return Solved(
            law=posed.law(solution.parameters),
            objective=float(solution.objective),
            refit=refit,
            gaussian=gaussian,
            region=LawRegion(problem, solution, posed),
            num_parameters=len(posed.names),
            diagnostics=_diagnostics(solution),
            notes=given,
        )

    def _require_known_or_told_apart(self, points: Points, posed: Posed) -> tuple[str, ...]:
        """A note where the exponents alone part size from data; Raises DataError where they are not given either."""
        exponents = set(posed.names[len(posed.terms) :])
        if exponents - set(self.prior):
            require_off_a_line(points, "Approach 3")
            return ()
        if not lies_on_a_line(points):
            return ()
        return (
            "Tokens follow from params in all runs, so that the split between the two comes from the exponents that "
            "were given, not from the runs.",
        )

    def _best(self, points: Points, posed: Posed) -> tuple[Problem, Solution]:
        """The problem with its delta and prior settled, and its solution."""
        delta = self.delta or FIRST_DELTA
        problem = Problem(
            posed.terms, points.L, posed.names, delta, offset=posed.offset, unit=posed.unit
        )
        solution = solve(problem)
        if self.delta is not None and not self.prior:
            return problem, solution
        noise = measured_noise(problem, solution.parameters)
        delta = self.delta or max(HUBER * noise, LEAST_DELTA)
        problem = replace(problem, delta=delta, prior=self._prior(posed, noise))
        return problem, replace(
            solve(problem, solution.parameters[None]), agreement=solution.agreement
        )

    def _prior(self, posed: Posed, noise: float) -> tuple[Array, Array] | None:
        """Centres and weights of the parameters in units of the objective, whose residuals have variance noise^2."""
        if unknown := set(self.prior) - set(posed.names):
            raise DataError(
                f"Parametric: prior names {join_words(sorted(unknown))}, which {self.law!r} does not fit."
            )
        known = [self.prior.get(name, (0.0, math.inf)) for name in posed.names]
        centre, deviation = np.array(known).T
        return (centre, (max(noise, LEAST_DELTA) / deviation) ** 2) if self.prior else None


def measured_noise(problem: Problem, parameters: Array) -> float:
    """Robust standard deviation of the residuals of a fit."""
    n, Q = len(problem.target), len(problem.names)
    residual = residuals(problem, parameters)
    return 1.4826 * float(np.median(np.abs(residual))) * math.sqrt(n / max(n - Q, 1))


def residuals(problem: Problem, parameters: Array) -> Array:
    """Log of the law minus log of the loss, shape (n,)."""
    return np.log(problem.model(parameters)) - np.log(problem.target)


def _is_delta(value: float) -> bool:
    return value >= LEAST_OWN_DELTA


def _is_belief(value: Any) -> bool:
    """Whether a value is a finite number with a standard deviation above 0."""
    if not (
        isinstance(value, tuple | list) and len(value) == 2 and all(map(arguments.is_number, value))
    ):
        return False
    middle, deviation = map(float, value)
    return abs(middle) <= LARGEST_BELIEF and 1 / LARGEST_BELIEF <= deviation <= LARGEST_BELIEF


def straight(points: Points, solved: Solved) -> Solved | None:
    """One law through all runs, for checks: the solution itself where it is one, else Approach 3's.

    None where the points do not determine it.
    """
    if solved.region is not None:
        return solved
    try:
        return Parametric().solve(points)
    except DataError:
        return None


def _diagnostics(solution: Solution) -> Diagnostics:
    return Diagnostics(
        bool(solution.converged), solution.agreement, solution.at_bound, solution.condition
    )


def _require_enough(points: Points, posed: Posed) -> None:
    num_numbers = len(posed.names)
    require_enough(points, "Approach 3", num_numbers + 1, f" to fit {num_numbers} numbers")
