"""The best settings of one (N, D) from runs at several: a paraboloid over their logs.

k settings (learning rate, batch) of n runs; z: logs of the settings, shape (n, k); y: log loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.setting_rule import Vertex
from isoflop.laws.base import Array

__all__ = ["Paraboloid", "fit_paraboloid"]

DEPTH = 0.02
"""Excess of log loss over the best run's up to which runs count: near the minimum, curves are
parabolas, and further away they rise like walls on one side. The exponents of 2,819 published runs
are the same to .02 for .01 to .04."""
SPARE = 2
"""Runs beyond the paraboloid's own numbers, so that its residuals show the noise."""
DEEPEST = 0.1
"""Largest excess of the runs that are taken where fewer than needed lie within DEPTH."""


@dataclass(frozen=True, eq=False)
class Paraboloid:
    """The minimum of log loss over log settings."""

    at: Array
    """Log settings of the minimum, shape (k,)."""
    log_loss: float
    noise: float
    """Standard deviation of log loss around the paraboloid."""
    inside: bool
    """Whether the minimum lies within the settings tried."""
    bend: Array
    """Second derivatives, shape (k, k)."""
    spread: Array
    """Variance of each log setting of the minimum per unit variance of log loss, shape (k,)."""
    misfit: float
    """Residual sum of squares."""
    freedom: int

    def vertex(self, setting: int) -> Vertex:
        """The minimum along one setting, the others being at their best."""
        across = np.linalg.inv(self.bend)[setting, setting]
        return Vertex(
            math.exp(self.at[setting]),
            self.inside,
            float(1 / across),
            float(self.spread[setting]),
            self.misfit,
            self.freedom,
        )


def fit_paraboloid(z: Array, y: Array) -> Paraboloid | None:
    """The paraboloid through the best runs; None where they do not show a minimum."""
    k = z.shape[1]
    terms = 1 + k + k * (k + 1) // 2
    near = _near(y, terms + SPARE)
    if len(near) < terms + SPARE or any(len(np.unique(z[near, j])) < 3 for j in range(k)):
        return None
    centre = z[np.argmin(y)]
    design = _design(z[near] - centre)
    if np.linalg.matrix_rank(design) < terms:
        return None
    numbers: Array = np.linalg.lstsq(design, y[near], rcond=None)[0].astype(float)
    slope, bend = numbers[1 : k + 1], _bend(numbers[k + 1 :], k)
    if np.linalg.eigvalsh(bend)[0] <= 0:
        return None
    step: Array = -np.linalg.solve(bend, slope).astype(float)
    residual = y[near] - design @ numbers
    freedom = len(near) - terms
    squares = float(residual @ residual)
    at = centre + step
    return Paraboloid(
        at=at,
        log_loss=float(numbers[0] + slope @ step / 2),
        noise=math.sqrt(squares / freedom),
        inside=bool(np.all((z.min(axis=0) < at) & (at < z.max(axis=0)))),
        bend=bend,
        spread=_spread(design, bend, step),
        misfit=squares,
        freedom=freedom,
    )


def _near(y: Array, needed: int) -> NDArray[np.intp]:
    """The runs within DEPTH of the best, or as many as needed."""
    order = np.argsort(y)
    excess = y[order] - y[order[0]]
    number = max(int(np.sum(excess < DEPTH)), min(needed, int(np.sum(excess < DEEPEST))))
    return order[:number]


def _pairs(k: int) -> Sequence[tuple[int, int]]:
    return [*combinations_with_replacement(range(k), 2)]


def _design(u: Array) -> Array:
    columns = [np.ones(len(u)), *u.T]
    columns += [u[:, i] * u[:, j] * (0.5 if i == j else 1.0) for i, j in _pairs(u.shape[1])]
    return np.stack(columns, axis=1)


def _bend(numbers: Array, k: int) -> Array:
    bend = np.zeros((k, k))
    for (i, j), number in zip(_pairs(k), numbers, strict=True):
        bend[i, j] = bend[j, i] = number
    return bend


def _spread(design: Array, bend: Array, step: Array) -> Array:
    """Variance of the minimum per unit variance of log loss, by the delta method.

    With slope g and bend H, the minimum is -H^-1 g, whose derivative is -H^-1 (dg + dH step).
    """
    k = len(step)
    gradient = np.zeros((k, design.shape[1]))
    gradient[:, 1 : k + 1] = np.eye(k)
    for column, (i, j) in enumerate(_pairs(k), k + 1):
        gradient[i, column] += step[j]
        if i != j:
            gradient[j, column] += step[i]
    moved = -np.linalg.solve(bend, gradient)
    return np.asarray(np.diag(moved @ np.linalg.pinv(design.T @ design) @ moved.T))
