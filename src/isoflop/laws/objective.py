"""The objective for fitting a sum of powers, with its first and second derivatives.

f = offset + sum_k c_k base_k exp(-theta_p(k) z_k). The objective is sum_i w_i rho(r_i), where r is
log f - log y (or f - y) and rho is Huber's function, r^2 / 2 up to delta and linear beyond. It is a
sum because optimisers stop early on means (Besiroglu et al. 2024). A sum of powers may itself be
raised to a power q, one more parameter: f = u (sum_k ...)^q with a fixed u.

Many resamples are evaluated at once. Shapes: n points, R resamples, K amplitudes c, P exponents
theta, Q = K + P parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array, Surface

__all__ = ["Evaluation", "Posed", "Problem", "Term", "evaluate", "term_values"]


@dataclass(frozen=True, eq=False)
class Term:
    """One summand, c * base * exp(-theta * logs)."""

    base: Array
    exponent: int | None = None
    """Index of its theta; None for a term without an exponent."""
    logs: Array = field(default_factory=lambda: np.empty(0))
    """z, shape (n,); empty for a term without an exponent."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A law as a solver's problem: its terms at given points, and the way back to the law."""

    terms: tuple[Term, ...]
    names: tuple[str, ...]
    law: Callable[[Array], Surface]
    """Parameters, shape (Q,) or (R, Q) -> the law with numbers or arrays of shape (R,)."""
    offset: float = 0.0
    unit: float | None = None
    """`Problem.unit`, where the law is a power of a sum."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A minimisation problem, as the module's docstring defines it."""

    terms: tuple[Term, ...]
    target: Array
    """y, shape (n,), all above 0."""
    names: tuple[str, ...]
    """Names of the amplitudes, then of the exponents, then of q."""
    delta: float = math.inf
    """Residual at which Huber's function turns linear; infinite for least squares."""
    log: bool = True
    """Whether residuals are differences of logs rather than of the values."""
    offset: Array | float = 0.0
    weights: Array | None = None
    """Shape (n,); None for ones."""
    unit: float | None = None
    """u of a sum raised to a power; None for a bare sum. A u near the targets keeps the amplitudes
    almost independent of q."""
    prior: tuple[Array, Array] | None = None
    """Centres and weights of the parameters, each (Q,); they add
    sum_q weight_q (parameter_q - centre_q)^2 / 2 to the objective."""

    def __post_init__(self) -> None:
        assert self.unit is None or (self.log and np.all(self.offset == 0)), (
            "a power needs a sum without offset, and residuals of logs"
        )

    @property
    def num_amplitudes(self) -> int:
        return len(self.terms)

    @property
    def num_exponents(self) -> int:
        return len(self.names) - len(self.terms) - (self.unit is not None)

    def model(self, parameters: Array) -> Array:
        """f at parameters of shape (Q,), shape (n,)."""
        values = term_values(self, parameters[None, self.num_amplitudes :])
        total = np.asarray(
            self.offset + sum(parameters[k] * value[0] for k, value in enumerate(values))
        )
        return total if self.unit is None else self.unit * total ** parameters[-1]


def term_values(problem: Problem, exponents: Array) -> list[Array]:
    """base * exp(-theta * logs) of each term, shape (R, n), or (1, n) without an exponent."""
    return [
        term.base[None]
        if term.exponent is None
        else term.base * np.exp(-exponents[:, term.exponent, None] * term.logs)
        for term in problem.terms
    ]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The objective and its derivatives for R rows of parameters."""

    objective: Array
    """Shape (R,)."""
    gradient: Array
    """Shape (R, Q)."""
    hessian: Array
    """Shape (R, Q, Q)."""
    majoriser: Array
    """Gauss-Newton matrix of the reweighted problem, shape (R, Q, Q): positive, and above the
    objective's curvature in the residuals."""
    jacobian: Array
    """Derivatives of the residuals, shape (R, Q, n)."""

    def where(self, keep: NDArray[np.bool_], other: "Evaluation") -> "Evaluation":
        """Rows of this evaluation where `keep` is true, else of the other; without Jacobians."""
        column, matrix = keep[:, None], keep[:, None, None]
        return Evaluation(
            np.where(keep, self.objective, other.objective),
            np.where(column, self.gradient, other.gradient),
            np.where(matrix, self.hessian, other.hessian),
            np.where(matrix, self.majoriser, other.majoriser),
            self.jacobian[:0],
        )

    def rows(self, index: NDArray[np.bool_]) -> "Evaluation":
        """The selected rows, without Jacobians."""
        return Evaluation(
            self.objective[index],
            self.gradient[index],
            self.hessian[index],
            self.majoriser[index],
            self.jacobian[:0],
        )


def evaluate(
    problem: Problem, parameters: Array, weights: Array, *, derivatives: bool = True
) -> Evaluation:
    """Objective and its derivatives for R rows of parameters and weights."""
    K = problem.num_amplitudes
    values = term_values(problem, parameters[:, K:])
    model: Array = np.asarray(
        problem.offset + sum(parameters[:, k, None] * value for k, value in enumerate(values))
    )
    power = np.ones((1, 1)) if problem.unit is None else parameters[:, -1:]
    residual = _residual(problem, model, power)
    slope = np.clip(residual, -problem.delta, problem.delta)
    objective = np.sum(weights * slope * (residual - slope / 2), axis=1)
    centre, firmness = (0.0, 0.0) if problem.prior is None else problem.prior
    objective += np.sum(firmness * (parameters - centre) ** 2, axis=1) / 2
    none = np.empty((0, 0, 0))
    if not derivatives:
        return Evaluation(objective, none, none, none, none)
    scale = power / model if problem.log else np.ones_like(model)
    slopes = [
        None if t.exponent is None else t.logs * v
        for t, v in zip(problem.terms, values, strict=True)
    ]
    jacobian = _jacobian(problem, parameters, values, slopes) * scale[:, None]
    if problem.unit is not None:
        jacobian[:, -1] = np.log(model)
    pull = weights * slope
    inside = weights * (np.abs(residual) <= problem.delta)
    hessian = _gram(jacobian, inside - pull / power if problem.log else inside)
    _add_curvature(hessian, problem, parameters, slopes, pull * scale)
    if problem.unit is not None:
        _add_curvature_of_power(hessian, jacobian, pull / power)
    majoriser = _gram(jacobian, weights * np.where(residual == 0, 1, slope / residual))
    gradient = np.einsum("rqn,rn->rq", jacobian, pull)
    if problem.prior is not None:
        gradient = gradient + firmness * (parameters - centre)
        hessian, majoriser = hessian + np.diag(firmness), majoriser + np.diag(firmness)
    return Evaluation(objective, gradient, hessian, majoriser, jacobian)


def _residual(problem: Problem, model: Array, power: Array) -> Array:
    if problem.unit is not None:
        return np.asarray(power * np.log(model) - np.log(problem.target / problem.unit))
    return np.log(model) - np.log(problem.target) if problem.log else model - problem.target


def _jacobian(
    problem: Problem, parameters: Array, values: list[Array], slopes: list[Array | None]
) -> Array:
    K, R = problem.num_amplitudes, len(parameters)
    jacobian = np.zeros((R, len(problem.names), len(problem.target)))
    for k, (term, value, slope) in enumerate(zip(problem.terms, values, slopes, strict=True)):
        jacobian[:, k] = value
        if term.exponent is not None and slope is not None:
            jacobian[:, K + term.exponent] -= parameters[:, k, None] * slope
    return jacobian


def _add_curvature(
    hessian: Array, problem: Problem, parameters: Array, slopes: list[Array | None], pull: Array
) -> None:
    """Add sum_i pull_i times the second derivatives of f, in place."""
    K = problem.num_amplitudes
    for k, (term, slope) in enumerate(zip(problem.terms, slopes, strict=True)):
        if term.exponent is None or slope is None:
            continue
        p, weighted = K + term.exponent, pull * slope
        mixed = weighted.sum(axis=1)
        hessian[:, k, p] -= mixed
        hessian[:, p, k] -= mixed
        hessian[:, p, p] += parameters[:, k] * (weighted @ term.logs)


def _add_curvature_of_power(hessian: Array, jacobian: Array, pull: Array) -> None:
    """Complete the row and column of q, in place: the residual is linear in q. `pull` is over q."""
    logs = jacobian[:, -1]
    mixed = np.einsum("rqn,rn->rq", jacobian[:, :-1], pull * (1 + logs))
    hessian[:, :-1, -1] += mixed
    hessian[:, -1, :-1] += mixed
    hessian[:, -1, -1] += np.sum(pull * logs**2, axis=1)


def _gram(jacobian: Array, weights: Array) -> Array:
    return (jacobian * weights[:, None]) @ jacobian.transpose(0, 2, 1)
