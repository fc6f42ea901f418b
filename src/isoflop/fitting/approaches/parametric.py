"""Approach 3: one law L(N, D) through all runs (Hoffmann et al. 2022, section 3.3).

N params, D tokens, L loss, E irreducible loss.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from isoflop import arguments
from isoflop.display.format import join_words, one_line, quoted
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Diagnostics, Solved
from isoflop.fitting.approaches.profile import LawRegion, gaussian_draws
from isoflop.fitting.approaches.repetition import with_worth
from isoflop.fitting.robust import robust_deviation
from isoflop.fitting.solve.solvers import Solution, solve, solve_resampled
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array, Law, Surface
from isoflop.laws.objective import Posed, Problem
from isoflop.laws.points import Points, lies_on_a_line, require_enough, require_off_a_line
from isoflop.notes.note import Note

__all__ = ["FittableLaw", "Parametric", "single_law"]

HUBER = 1.345
"""delta in standard deviations of the noise; it costs 5 % of the efficiency under Gaussian noise
(Huber 1981)."""
FIRST_DELTA = 1e-3
"""delta of the fit whose residuals measure the noise: so small that outliers hardly move it
(Hoffmann et al. 2022)."""
LEAST_DELTA = 1e-5
"""Least delta, below the rounding of published losses: noise-free tables are fitted by least
squares."""

LEAST_OWN_DELTA = 1e-12
"""Least delta that a user may give. On 28 runs with noise of .2 % deltas of 1e-9 to 1e-12 give one
law to eight digits; from 1e-13 on the solver does not converge or rounding moves E, by 2e-5 at
1e-18 and by 4 % at 1e-30."""
LARGEST_BELIEF = 1e6
"""Largest mean and deviation of a belief: above any E or exponent of a law of losses, and far below
1e150, whose square is infinite. A deviation of 1e6 already gives the law of no belief to nine
digits."""
LEAST_DEVIATION = 1e-12
"""Of a belief: its square still counts beside the residuals."""


class FittableLaw(Protocol):
    """A law that can be fitted to losses at any (N, D)."""

    def pose(self, points: Points) -> Posed:
        """The law's terms at the points, and the way back to the law."""
        ...


@dataclass(frozen=True)
class Parametric:
    """One law for the loss of every (N, D), fitted to the log loss of all runs.

    Parameters
    ----------
    law
        The law to fit. Fields that are given, as in ChinchillaLaw(E=1.7), are held; the others are
        fitted.
    delta
        Log loss at which Huber's function turns linear; math.inf for least squares. None takes
        1.345 standard deviations of the noise, measured by the median absolute residual. Hoffmann
        et al. use 1e-3.
    prior
        Prior knowledge of E, alpha or beta, as name -> (value, standard deviation).
    """

    law: FittableLaw = field(default_factory=ChinchillaLaw)
    delta: float | None = None
    prior: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.delta is not None:
            remedy = "leave it out to have it measured"
            read = arguments.number(
                self.delta, "Parametric: delta", must="above 0", holds=_is_delta, remedy=remedy
            )
            object.__setattr__(self, "delta", float(read))
        law = (
            self.law() if isinstance(self.law, type) and issubclass(self.law, Surface) else self.law
        )
        if isinstance(law, type) or not callable(getattr(law, "pose", None)):
            raise arguments.refused(law, "Parametric: law", "a law such as ChinchillaLaw()")
        object.__setattr__(self, "law", law)
        arguments.mapping(
            self.prior, "Parametric: prior", "a dict, name -> (value, standard deviation)"
        )
        for name, value in self.prior.items():
            if name in ("A", "B", "N_c", "D_c") or not _is_belief(value):
                raise DataError(
                    f"Parametric: prior must give E, alpha or beta a value and a standard "
                    f"deviation above 0, but got {one_line(name, 40)}={quoted(value)}."
                )

    def solve(self, points: Points) -> Solved:
        """The law of the points; Raises DataError where they are too few or lie on a line."""
        _require_enough(points, self.law.pose(points))
        worth = with_worth(self.law, points, self._law)
        base = points if worth is None else worth.base
        posed = (self.law if worth is None else worth.law).pose(base)
        notes = self._line_notes(base, posed)
        problem, solution = self._best(base, posed)

        def refit(weights: Array) -> Law:
            own = weights if worth is None else weights[:, worth.is_base]
            law = posed.law(solve_resampled(problem, own, solution.parameters).parameters)
            return law if worth is None else worth.refitted(law, weights)

        def gaussian(number: int, random: np.random.Generator) -> Law:
            return posed.law(gaussian_draws(problem, solution, base, number, random))

        return Solved(
            law=posed.law(solution.parameters),
            objective=float(solution.objective),
            refit=refit,
            gaussian=gaussian,
            region=LawRegion(problem, solution, posed),
            num_parameters=len(posed.names),
            diagnostics=_diagnostics(solution),
            notes=notes,
        )

    def _law(self, law: FittableLaw, points: Points) -> Law:
        """Another law of the same kind, fitted to some points."""
        posed = law.pose(points)
        return posed.law(self._best(points, posed)[1].parameters)

    def _line_notes(self, points: Points, posed: Posed) -> tuple[Note, ...]:
        """A note where only the given exponents separate size from data.

        Raises DataError where the exponents are not given either.
        """
        exponents = set(posed.names[len(posed.terms) :])
        if exponents - set(self.prior):
            require_off_a_line(points, "Approach 3")
            return ()
        if not lies_on_a_line(points):
            return ()
        text = (
            "Tokens follow from params in all runs, so that the split between the two comes from "
            "the given exponents, not from the runs."
        )
        return (Note("tokens-follow-params", text),)

    def _best(self, points: Points, posed: Posed) -> tuple[Problem, Solution]:
        """The problem with its delta and prior, and its solution."""
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
        """Centres and weights of the parameters, for residuals with a variance of noise^2."""
        if unknown := set(self.prior) - set(posed.names):
            raise DataError(
                f"Parametric: prior must name fitted numbers of {self.law!r}, "
                f"but got {join_words(sorted(unknown))}; leave these out."
            )
        known = [self.prior.get(name, (0.0, math.inf)) for name in posed.names]
        centre, deviation = np.array(known).T
        return (centre, (max(noise, LEAST_DELTA) / deviation) ** 2) if self.prior else None


def measured_noise(problem: Problem, parameters: Array) -> float:
    """Robust standard deviation of the residuals of a fit."""
    n, Q = len(problem.target), len(problem.names)
    return robust_deviation(residuals(problem, parameters)) * math.sqrt(n / max(n - Q, 1))


def residuals(problem: Problem, parameters: Array) -> Array:
    """Log of the law minus log of the loss, shape (n,)."""
    return np.log(problem.model(parameters)) - np.log(problem.target)


def _is_delta(value: float) -> bool:
    return value >= LEAST_OWN_DELTA


def _is_belief(value: object) -> bool:
    """Whether a value is a finite number with a standard deviation above 0."""
    if not (
        isinstance(value, tuple | list) and len(value) == 2 and all(map(arguments.is_number, value))
    ):
        return False
    middle, deviation = map(float, value)
    return abs(middle) <= LARGEST_BELIEF and LEAST_DEVIATION <= deviation <= LARGEST_BELIEF


def single_law(points: Points, solved: Solved) -> Solved | None:
    """One law through all runs, for checks: the solution itself if it is one, else Approach 3's.

    None where the points do not determine one.
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
