"""The best value of a setting: a parabola per cell, and a power law of N and D through the cells.

x: log of the setting (a learning rate, a batch); y: log loss; N: params; D: tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoflop.laws.base import Array
from isoflop.recipe import PowerRule

__all__ = ["Fitted", "Vertex", "fit_rule", "fit_vertex", "law_through"]

WINDOW, DEEP = math.log(4.01), 0.2
"""A parabola uses settings within a factor of 4 of the best, with log loss at most .2 higher.

Further away curves rise like walls on one side.
"""
USUAL_NOISE = 0.004
"""Standard deviation of log loss between seeds, if the parabolas leave no degrees of freedom."""
LEAST_DEVIATION = 0.05
"""Least standard deviation of a best log setting: no minimum is closer to a parabola than that."""
ENOUGH_CELLS = 8
"""Cells from which on their scatter about the law is estimated from their residuals."""
PRIOR_DEVIATION = 0.3
"""Standard deviation of exponents about those of the recipe's rule; published ones lie within."""


@dataclass(frozen=True)
class Vertex:
    """The best setting of one cell.

    inside: whether settings on both sides of it did worse.
    curvature: second derivative of log loss in log setting; NaN if it cannot be estimated.
    spread: variance of log `value` per unit variance of log loss.
    misfit, freedom: residual sum of squares of the parabola, and its degrees of freedom.
    """

    value: float
    inside: bool
    curvature: float = math.nan
    spread: float = math.nan
    misfit: float = 0.0
    freedom: int = 0


@dataclass(frozen=True)
class Fitted:
    """A rule and its precision: `deviation(N, D)` is the standard deviation of its log setting."""

    rule: PowerRule
    noise: float
    curvature: float
    exponent_deviations: tuple[float, float]
    deviation: Callable[[float, float], float]

    def along(self, tokens_per_param: float) -> "Fitted":
        """The rule of the params alone that gives the same values at so many tokens per param."""
        rule = self.rule
        coefficient = rule.coefficient * tokens_per_param**rule.num_tokens
        of_params = PowerRule(
            _rounded(coefficient), num_params=_exponent(rule.num_params + rule.num_tokens)
        )
        return replace(self, rule=of_params)


def fit_vertex(values: Sequence[float], losses: Sequence[float]) -> Vertex:
    """The best of some settings; the infinite loss of a diverged run counts as a worse one."""
    order = np.argsort(values)
    x, y = (
        np.log(np.asarray(values, dtype=float)[order]),
        np.log(np.asarray(losses, dtype=float)[order]),
    )
    best = int(np.argmin(y))
    inside = 0 < best < len(x) - 1
    near = np.isfinite(y) & (np.abs(x - x[best]) < WINDOW) & (y - y[best] < DEEP)
    if not inside or near.sum() < 3:
        return Vertex(math.exp(x[best]), inside)
    design = np.vander(x[near] - x[best], 3)
    (a, b, c), *_ = np.linalg.lstsq(design, y[near], rcond=None)
    if a <= 0:
        return Vertex(math.exp(x[best]), inside)
    at = float(np.clip(-b / (2 * a), x[best - 1] - x[best], x[best + 1] - x[best]))
    gradient = np.array([b / (2 * a**2), -1 / (2 * a), 0.0])
    spread = float(gradient @ np.linalg.pinv(design.T @ design) @ gradient)
    misfit = float(np.sum((design @ [a, b, c] - y[near]) ** 2))
    return Vertex(math.exp(x[best] + at), inside, 2 * float(a), spread, misfit, int(near.sum()) - 3)


def fit_rule(
    cells: Sequence[tuple[float, float]], vertices: Sequence[Vertex], prior: tuple[float, float]
) -> Fitted:
    """The power law through the best settings of cells (N, D).

    prior: exponents of N and D of the recipe's own rule, which few and noisy cells fall back on.
    """
    N, D = np.log(np.array(cells, dtype=float)).T
    noise = _noise(vertices)
    curvatures = [vertex.curvature for vertex in vertices if math.isfinite(vertex.curvature)]
    spread = np.array(
        [vertex.spread if math.isfinite(vertex.spread) else 1 / noise**2 for vertex in vertices]
    )
    y = np.log([vertex.value for vertex in vertices])
    variances = noise**2 * spread + LEAST_DEVIATION**2
    typical = float(np.median(curvatures)) if curvatures else math.nan
    return law_through(
        cells, y, variances + _scatter(N, D, y, variances), prior, noise=noise, curvature=typical
    )


def law_through(
    cells: Sequence[tuple[float, float]],
    y: Array,
    variances: Array,
    prior: tuple[float, float],
    *,
    noise: float,
    curvature: float,
) -> Fitted:
    """The power law through the log of the best settings of cells (N, D), of given variances.

    prior: exponents of N and D that few and unsure cells fall back on.
    """
    N, D = np.log(np.array(cells, dtype=float)).T
    weights = 1 / variances
    middle = np.array([np.average(N, weights=weights), np.average(D, weights=weights)])
    design = np.stack([np.ones(len(N)), N - middle[0], D - middle[1]], axis=1)
    precision = np.array([0.0, 1, 1]) / PRIOR_DEVIATION**2
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design) + np.diag(precision))
    level, b, c = covariance @ (design.T @ (weights * y) + precision * np.array([0.0, *prior]))
    rule = PowerRule(
        _rounded(math.exp(level - b * middle[0] - c * middle[1])),
        num_params=_exponent(b),
        num_tokens=_exponent(c),
    )

    def deviation(num_params: float, num_tokens: float) -> float:
        at = np.array([1.0, math.log(num_params) - middle[0], math.log(num_tokens) - middle[1]])
        return math.sqrt(float(at @ covariance @ at))

    _, b_variance, c_variance = np.diag(covariance)
    return Fitted(rule, noise, curvature, (math.sqrt(b_variance), math.sqrt(c_variance)), deviation)


def _scatter(N: Array, D: Array, y: Array, variances: Array) -> float:
    """Variance of the best log settings about their law beyond their own; 0 for few cells."""
    if len(y) < ENOUGH_CELLS:
        return 0.0
    design = np.stack([np.ones(len(N)), N, D], axis=1)
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return max(float(residual @ residual) / (len(y) - 3) - float(np.median(variances)), 0.0)


def _noise(vertices: Sequence[Vertex]) -> float:
    """Standard deviation of log loss, pooled over the residuals of the parabolas."""
    freedom = sum(vertex.freedom for vertex in vertices)
    if freedom < 3:
        return USUAL_NOISE
    return max(math.sqrt(sum(vertex.misfit for vertex in vertices) / freedom), 1e-6)


def _rounded(value: float) -> float:
    """A value to four digits, for equal run ids on machines that differ in the last bit."""
    return float(f"{value:.4g}")


def _exponent(value: float) -> float:
    """The same of an exponent, of which the difference of two may be 0 but for the last bit."""
    return _rounded(round(value, 6))
