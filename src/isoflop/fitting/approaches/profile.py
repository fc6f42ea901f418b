"""Gaussian draws and profile intervals of one law, beside the bootstrap.

N params, D tokens, C FLOPs. theta parameters (Q,), H the objective's Hessian, s_g the gradient of configuration g.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from isoflop.fitting.solve.solvers import Solution, bounds
from isoflop.laws.base import Array, Law
from isoflop.laws.objective import Posed, Problem, evaluate
from isoflop.laws.points import Points

__all__ = ["LawRegion", "gaussian_draws"]


def gaussian_draws(
    problem: Problem, solution: Solution, points: Points, number: int, random: np.random.Generator
) -> Array:
    """Draws of the parameters, shape (number, Q), from the sandwich covariance H^-1 (sum_g s_g s_g') H^-1.

    The delta method for every question at once: Gaussian in the centred parameters, with replicates and rows of one
    trained model as one configuration, and n / (n - Q) for small samples. Parameters at a bound stay there.
    """
    inverse, found = _inverse_hessian(problem, solution)
    configurations = int(points.cluster.max()) + 1
    member = np.equal(np.arange(configurations)[:, None], points.cluster).astype(float)
    scores = member @ (found.jacobian[0] * _pull(problem, solution.parameters)).T
    small = configurations / max(configurations - len(problem.names), 1)
    covariance = inverse @ (scores.T @ scores) @ inverse * small
    spread, axes = np.linalg.eigh(covariance)
    steps = random.standard_normal((number, len(spread))) * np.sqrt(np.maximum(spread, 0)) @ axes.T
    return np.asarray(np.clip(solution.parameters + steps, *bounds(problem)))


@dataclass(frozen=True, eq=False)
class LawRegion:
    """The laws that the runs do not rule out: objective up to its minimum plus a likelihood ratio."""

    problem: Problem
    solution: Solution
    posed: Posed

    def range_of(self, measure: Callable[[Law], float], level: float) -> tuple[float, float]:
        """Smallest and largest log of a positive measure of the law within the region: its profile interval.

        Searched in coordinates in which the region is nearly a ball of radius 1.
        """
        radius = NormalDist().inv_cdf((1 + level) / 2)
        inverse, _ = _inverse_hessian(self.problem, self.solution)
        spread, axes = np.linalg.eigh(inverse)
        scale = axes * np.sqrt(np.maximum(spread, 0) * self.variance) * radius
        allowed, lowest = self.variance * radius**2 / 2, float(self.solution.objective)
        weights = np.ones((1, len(self.problem.target)))

        def law_at(step: Array) -> Array:
            return np.asarray(
                np.clip(self.solution.parameters + scale @ step, *bounds(self.problem))
            )

        def slack(step: Array) -> float:
            found = evaluate(self.problem, law_at(step)[None], weights, derivatives=False)
            return 1 - (float(found.objective[0]) - lowest) / allowed

        def log_measure(step: Array) -> float:
            value = float(np.log(measure(self.posed.law(law_at(step)))))
            return value if math.isfinite(value) else middle

        middle = math.log(measure(self.posed.law(self.solution.parameters)))
        return _extreme(log_measure, slack, len(spread), -1.0), _extreme(
            log_measure, slack, len(spread), 1.0
        )

    @property
    def variance(self) -> float:
        """Noise variance in units of the objective; for Huber's function sum psi^2 / (n - Q) over the share inside."""
        pull = _pull(self.problem, self.solution.parameters)
        free = max(len(pull) - len(self.problem.names), 1)
        inside = (
            float(np.mean(np.abs(pull) < self.problem.delta))
            if math.isfinite(self.problem.delta)
            else 1.0
        )
        return max(float(pull @ pull) / free / max(inside, 0.1), 1e-18)


def _extreme(
    value: Callable[[Array], float], slack: Callable[[Array], float], size: int, side: float
) -> float:
    """Smallest (side -1) or largest (1) value where the slack is not negative."""
    from scipy.optimize import minimize  # .3 s to import, for profile intervals alone

    def falling(step: Array) -> float:
        return -side * value(step)

    steps = 1e-4 * np.eye(size)
    slope = np.array([falling(step) - falling(-step) for step in steps])
    start = -0.9 * slope / max(float(np.linalg.norm(slope)), 1e-300)
    with np.errstate(all="ignore"):
        found = minimize(
            falling,
            start,
            method="SLSQP",
            bounds=[(-3.0, 3.0)] * size,
            constraints=[{"type": "ineq", "fun": slack}],
            options={"maxiter": 100, "ftol": 1e-6},
        )
    return value(found.x)


def _pull(problem: Problem, parameters: Array) -> Array:
    """Huber's influence of each log residual."""
    residual = np.log(problem.model(parameters)) - np.log(problem.target)
    return np.asarray(np.clip(residual, -problem.delta, problem.delta))


def _inverse_hessian(problem: Problem, solution: Solution) -> tuple[Array, Any]:
    """Inverse over the parameters that are not at a bound, zero elsewhere; and the evaluation it comes from."""
    found = evaluate(problem, solution.parameters[None], np.ones((1, len(problem.target))))
    hessian = found.hessian[0]
    if np.linalg.eigvalsh(hessian)[0] <= 0:  # Huber's function is flat in its linear part
        hessian = found.majoriser[0]
    free = np.array([name not in solution.at_bound for name in problem.names])
    inverse = np.zeros_like(hessian)
    inverse[np.ix_(free, free)] = np.linalg.pinv(hessian[np.ix_(free, free)], hermitian=True)
    return inverse, found
