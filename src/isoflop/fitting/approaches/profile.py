"""Gaussian draws and profile intervals of one law, as alternatives to the bootstrap.

N params, D tokens, C FLOPs. theta parameters (Q,), H the objective's Hessian, s_g the gradient of
configuration g.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from isoflop.fitting.solve.solvers import Solution, bounds
from isoflop.laws.base import Array, Law
from isoflop.laws.objective import Evaluation, Posed, Problem, evaluate
from isoflop.laws.points import Points

__all__ = ["LawRegion", "gaussian_draws"]


def gaussian_draws(
    problem: Problem, solution: Solution, points: Points, number: int, random: np.random.Generator
) -> Array:
    """Draws of the parameters, shape (number, Q), from the sandwich covariance.

    The covariance is H^-1 (sum_g s_g s_g') H^-1, times n / (n - Q) for small samples. This is the
    delta method for all quantities at once: Gaussian in the centred parameters, with replicates and
    rows of one trained model as one configuration. Parameters at a bound stay there.
    """
    inverse, evaluation = _inverse_hessian(problem, solution)
    configurations = int(points.cluster.max()) + 1
    member = np.equal(np.arange(configurations)[:, None], points.cluster).astype(float)
    scores = member @ (evaluation.jacobian[0] * _pull(problem, solution.parameters)).T
    small = configurations / max(configurations - len(problem.names), 1)
    covariance = inverse @ (scores.T @ scores) @ inverse * small
    spread, axes = np.linalg.eigh(covariance)
    steps = random.standard_normal((number, len(spread))) * np.sqrt(np.maximum(spread, 0)) @ axes.T
    return np.asarray(np.clip(solution.parameters + steps, *bounds(problem)))


@dataclass(frozen=True, eq=False)
class LawRegion:
    """The laws within a likelihood ratio of the best one, which the runs do not rule out."""

    problem: Problem
    solution: Solution
    posed: Posed

    def range_of(self, measure: Callable[[Law], float], level: float) -> tuple[float, float]:
        """Smallest and largest log of a positive measure of the law: its profile interval.

        The search is in coordinates in which the region is nearly a ball of radius 1.
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
            here = evaluate(self.problem, law_at(step)[None], weights, derivatives=False)
            return 1 - (float(here.objective[0]) - lowest) / allowed

        def log_measure(step: Array) -> float:
            value = float(np.log(measure(self.posed.law(law_at(step)))))
            return value if math.isfinite(value) else middle

        middle = math.log(measure(self.posed.law(self.solution.parameters)))
        low, high = (_extreme(log_measure, slack, len(spread), side) for side in (-1.0, 1.0))
        return low, high

    @property
    def variance(self) -> float:
        """Noise variance in units of the objective.

        For Huber's function it is sum psi^2 / (n - Q) over the share of residuals within delta.
        """
        pull = _pull(self.problem, self.solution.parameters)
        free = max(len(pull) - len(self.problem.names), 1)
        inside = float(np.mean(np.abs(pull) < self.problem.delta))
        return max(float(pull @ pull) / free / max(inside, 0.1), 1e-18)


def _extreme(
    value: Callable[[Array], float], slack: Callable[[Array], float], size: int, side: float
) -> float:
    """Smallest (side -1) or largest (side 1) value where the slack is not negative."""
    from scipy.optimize import minimize  # .3 s to import, for profile intervals alone

    def falling(step: Array) -> float:
        return -side * value(step)

    steps = 1e-4 * np.eye(size)
    slope = np.array([falling(step) - falling(-step) for step in steps])
    start = -0.9 * slope / max(float(np.linalg.norm(slope)), 1e-300)
    with np.errstate(all="ignore"):
        result = minimize(
            falling,
            start,
            method="SLSQP",
            bounds=[(-3.0, 3.0)] * size,
            constraints=[{"type": "ineq", "fun": slack}],
            options={"maxiter": 100, "ftol": 1e-6},
        )
    return value(result.x)


def _pull(problem: Problem, parameters: Array) -> Array:
    """Derivative of Huber's function at each log residual."""
    residual = np.log(problem.model(parameters)) - np.log(problem.target)
    return np.asarray(np.clip(residual, -problem.delta, problem.delta))


def _inverse_hessian(problem: Problem, solution: Solution) -> tuple[Array, Evaluation]:
    """Inverse Hessian, zero for parameters at a bound, and the evaluation at the solution."""
    here = evaluate(problem, solution.parameters[None], np.ones((1, len(problem.target))))
    hessian = here.hessian[0]
    if np.linalg.eigvalsh(hessian)[0] <= 0:  # Huber's function has no curvature where it is linear
        hessian = here.majoriser[0]
    free = np.array([name not in solution.at_bound for name in problem.names])
    inverse = np.zeros_like(hessian)
    inverse[np.ix_(free, free)] = np.linalg.pinv(hessian[np.ix_(free, free)], hermitian=True)
    return inverse, here
