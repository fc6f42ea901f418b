"""Solvers for sums of powers by least squares or Huber's function, for many resamples at once.

The objective is that of `laws/objective.py`: linear in its amplitudes c >= 0, with exponents theta
of centred logs (uncentred, the condition number of the Jacobian is 1e5 and more). Starts come from
variable projection: on a grid of exponents the best amplitudes solve a non-negative linear problem
exactly (`nonnegative.py`). From there, a damped Newton method on all parameters uses analytic first
and second derivatives and keeps the bounds by projection. Where the Hessian is not positive, the
step is that of iteratively reweighted Gauss-Newton, which always descends.
Shapes: n points, R resamples, Q parameters (amplitudes, then exponents).
"""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.solve.nonnegative import nonnegative_amplitudes
from isoflop.laws.base import Array
from isoflop.laws.objective import Evaluation, Problem, Term, evaluate, term_values

__all__ = ["Problem", "Solution", "Term", "bounds", "condition_number", "solve", "solve_resampled"]

GRID = {1: 33, 2: 9, 3: 5}
"""Steps of the grid on each axis, by the number of exponents."""
RAISED, POWERS = np.geomspace(0.3, 2.5, 9), np.geomspace(0.05, 0.6, 9)
"""Grid of exponents within a power, and of powers; Kaplan et al. 2020 have .74 and .10."""
STARTS = 8
TIGHT, LOOSE = 1e-13, 1e-8
"""Expected relative decrease of the objective at which a single fit and a resample end."""
SAME = 1e-4
"""Relative difference of objectives below which two starts count as in the same minimum."""
EXPONENTS = (0.02, 3.0)
"""Bounds of every exponent; published laws lie between 0.05 and 1.2."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The end of a fit, with diagnostics."""

    parameters: Array
    """Amplitudes, then exponents: shape (Q,), or (R, Q) for resamples."""
    objective: Array
    converged: NDArray[np.bool_]
    agreement: float = math.nan
    """Share of the starts that ended in the same minimum."""
    at_bound: tuple[str, ...] = ()
    """Names of the parameters that ended at a bound."""
    condition: float = math.nan
    """Condition number of the Jacobian with columns of unit length."""

    @property
    def arrays(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Parameters, objective and convergence."""
        return self.parameters, self.objective, self.converged


def solve(problem: Problem, starts: Array | None = None) -> Solution:
    """Best fit from given starts, shape (starts, Q), or from the best of a grid."""
    first = _starts(problem) if starts is None else starts
    weights = (
        np.ones((1, len(problem.target))) if problem.weights is None else problem.weights[None]
    )
    repeated = np.broadcast_to(weights, (len(first), weights.shape[1]))
    ended = _descend(problem, first, repeated, TIGHT, most=40)
    best = np.argsort(ended.objective)[:1]
    if not ended.converged[best[0]]:
        rest = _descend(problem, ended.parameters[best], weights, TIGHT)
        for whole, part in zip(ended.arrays, rest.arrays, strict=True):
            whole[best] = part
    lowest = ended.objective[best[0]]
    same = ended.objective <= lowest * (1 + SAME) + 1e-18
    solution = Solution(
        ended.parameters[best[0]], lowest, ended.converged[best[0]], agreement=float(np.mean(same))
    )
    return replace(
        solution,
        at_bound=_at_bound(problem, solution),
        condition=condition_number(problem, solution),
    )


def solve_resampled(problem: Problem, weights: Array, start: Array) -> Solution:
    """Fits under R sets of weights, shape (R, n), from `start`, shape (Q,) or (R, Q)."""
    starts = np.broadcast_to(start, (len(weights), len(problem.names))).copy()
    return _descend(problem, starts, weights, LOOSE)


def condition_number(problem: Problem, solution: Solution) -> float:
    """Condition number of the Jacobian at a solution, its columns scaled to unit length."""
    with np.errstate(all="ignore"):
        jacobian = evaluate(
            problem, solution.parameters[None], np.ones((1, len(problem.target)))
        ).jacobian[0]
        length = np.linalg.norm(jacobian, axis=1)
        used = jacobian[length > 0] / length[length > 0, None]
        if not len(used) or not np.isfinite(used).all():
            return math.inf
        values = np.linalg.svd(used, compute_uv=False)
        return float(values[0] / values[-1])


def _at_bound(problem: Problem, solution: Solution) -> tuple[str, ...]:
    low, high = bounds(problem)
    hit = (solution.parameters <= low * (1 + 1e-9)) | (solution.parameters >= high * (1 - 1e-9))
    return tuple(name for name, is_hit in zip(problem.names, hit, strict=True) if is_hit)


def bounds(problem: Problem) -> tuple[Array, Array]:
    """Least and largest value of each parameter, each (Q,)."""
    amplitudes = problem.num_amplitudes
    exponents = len(problem.names) - amplitudes
    low = np.array([0.0] * amplitudes + [EXPONENTS[0]] * exponents)
    return low, np.array([math.inf] * amplitudes + [EXPONENTS[1]] * exponents)


def _starts(problem: Problem) -> Array:
    """The best nodes of a grid of exponents, each with its best amplitudes: shape (starts, Q)."""
    exponents = _grid(problem)
    weights = np.ones(len(problem.target)) if problem.weights is None else problem.weights
    with np.errstate(all="ignore"):
        values = np.stack(
            [
                np.broadcast_to(v, (len(exponents), v.shape[-1]))
                for v in term_values(problem, exponents)
            ],
            axis=1,
        )
        amplitudes = _amplitudes(problem, exponents, values, weights)
        parameters = np.hstack([amplitudes, exponents])
        objective = evaluate(problem, parameters, weights[None], derivatives=False).objective
    return parameters[np.argsort(objective)[:STARTS]]


def _grid(problem: Problem) -> Array:
    """Grid of exponents, and of q where the problem has one: shape (nodes, exponents)."""
    if problem.unit is not None:
        return np.array([*product(*[RAISED] * problem.num_exponents, POWERS)])
    axis = np.geomspace(0.06, 1.8, GRID.get(problem.num_exponents, 3))
    return np.array([*product(axis, repeat=problem.num_exponents)])


def _amplitudes(problem: Problem, exponents: Array, values: Array, weights: Array) -> Array:
    """The best amplitudes at given exponents, to first order in log residuals.

    For a power of a sum they are those of the sum.
    """
    if problem.unit is not None:
        root = (problem.target / problem.unit) ** (1 / exponents[:, -1:])
        return nonnegative_amplitudes(values / root[:, None], np.ones(len(problem.target)), weights)
    relative = weights / problem.target**2 if problem.log else weights
    return nonnegative_amplitudes(values, problem.target - problem.offset, relative)


def _descend(
    problem: Problem, parameters: Array, weights: Array, tolerance: float, most: int = 200
) -> Solution:
    """Damped Newton from R starts, shape (R, Q); converged rows take no further part."""
    ended, objective = parameters.copy(), np.empty(len(parameters))
    converged = np.zeros(len(parameters), dtype=bool)
    with np.errstate(all="ignore"):
        live, here = np.arange(len(parameters)), evaluate(problem, parameters, weights)
        damping = np.full(len(parameters), 1e-2)
        for _ in range(most):
            step, decrement = _step(problem, parameters, here, damping)
            trial = np.clip(parameters + step, *bounds(problem))
            there = evaluate(problem, trial, weights[live])
            better = there.objective <= here.objective  # False where the trial is not finite
            done = (decrement <= tolerance * here.objective + 1e-26) | (damping > 1e12)
            parameters, here = (
                np.where(better[:, None], trial, parameters),
                there.where(better, here),
            )
            damping = np.where(better, np.maximum(damping / 10, 1e-9), damping * 8)
            ended[live], objective[live], converged[live] = parameters, here.objective, done
            if done.all():
                break
            go = ~done
            live, parameters, here, damping = live[go], parameters[go], here.rows(go), damping[go]
    return Solution(ended, objective, converged & np.isfinite(objective))


def _step(
    problem: Problem, parameters: Array, here: Evaluation, damping: Array
) -> tuple[Array, Array]:
    """Step of each row and its expected decrease.

    The step is zero along bounds that the gradient points beyond.
    """
    low, high = bounds(problem)
    free = ~((parameters <= low) & (here.gradient > 0) | (parameters >= high) & (here.gradient < 0))
    matrix = here.hessian + damping[:, None, None] * here.majoriser
    scale = np.einsum("rqq->rq", here.majoriser)
    ridge = 1e-14 * scale + 1e-300 + np.where(scale > 0, 0, 1)
    matrix = np.where(free[:, :, None] & free[:, None], matrix, 0) + _diagonal(
        np.where(free, ridge, 1)
    )
    gradient = np.where(free, here.gradient, 0)
    step = -_solve_finite(matrix, gradient)
    decrease = -np.einsum("rq,rq->r", step, gradient)
    uphill = ~(decrease >= 0)  # the Hessian is not positive here: use the majoriser
    if uphill.any():
        safe = np.where(
            free[:, :, None] & free[:, None], here.majoriser * (1 + damping[:, None, None]), 0
        )
        step[uphill] = -_solve_finite(
            (safe + _diagonal(np.where(free, ridge, 1)))[uphill], gradient[uphill]
        )
        decrease[uphill] = -np.einsum("rq,rq->r", step, gradient)[uphill]
    return step, decrease / 2


def _diagonal(values: Array) -> Array:
    return values[:, :, None] * np.eye(values.shape[1])


def _solve_finite(matrix: Array, right: Array) -> Array:
    """Solution of matrix @ x = right for each row; zero where a row is singular or not finite."""
    try:
        solved = np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        solved = np.einsum("rij,rj->ri", np.linalg.pinv(np.nan_to_num(matrix)), right)
    return np.asarray(np.nan_to_num(solved, nan=0.0, posinf=0.0, neginf=0.0))
