"""Nonlinear: any law of N and D by least squares, for laws that are no sums of powers.

N params, D tokens, L loss; P parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from isoflop import arguments
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Diagnostics, Solved
from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array, Law, Surface
from isoflop.laws.points import Points, require_enough, require_off_a_line

__all__ = ["Nonlinear", "SmoothLaw"]

HUBER, FIRST_DELTA, LEAST_DELTA = 1.345, 1e-3, 1e-5
"""delta in standard deviations of the noise, that of the fit which measures it, and the least one:
as in Parametric."""
SAME = 1e-4
"""Relative difference of objectives below which two starts ended in the same minimum."""
STEP = 1e-6
RIDGE = 1e-9
"""Share of the largest eigenvalue below which a direction is undetermined."""


class SmoothLaw(Protocol):
    """A law that Nonlinear can fit."""

    def starts(self, points: Points) -> Array:
        """Parameters to start from, shape (S, P)."""
        ...

    def at(self, parameters: Array, x: Array, y: Array, y0: float) -> Array:
        """Losses at centred logs of N and D, for parameters of shape (P,)."""
        ...

    def of(self, parameters: Array, x0: float, y0: float) -> Surface:
        """The law of parameters of shape (P,), or (R, P), centred at the logs x0 and y0."""
        ...


@dataclass(frozen=True)
class Nonlinear:
    """One law for the loss of every (N, D), fitted to the log loss of all runs from several starts.

    For laws that are no sums of powers, such as FarseerLaw and OuterPowerLaw. `Parametric` is
    faster for those that are.

    Parameters
    ----------
    law
        The law to fit.
    delta
        Log loss at which Huber's function turns linear; None takes 1.345 standard deviations of
        the noise, measured by the median absolute residual.
    """

    law: SmoothLaw
    delta: float | None = None

    def __post_init__(self) -> None:
        law = self.law() if isinstance(self.law, type) else self.law
        if not all(callable(getattr(law, name, None)) for name in ("starts", "at", "of")):
            raise arguments.refused(law, "Nonlinear: law", "a law such as FarseerLaw()")
        object.__setattr__(self, "law", law)
        if self.delta is not None:
            arguments.positive(self.delta, "Nonlinear: delta")

    def solve(self, points: Points) -> Solved:
        """The law of the points; Raises DataError where they are too few or lie on a line."""
        starts = self.law.starts(points)
        number = starts.shape[1]
        require_enough(points, "Nonlinear", number + 3, f" to fit {number} numbers")
        require_off_a_line(points, "Nonlinear")
        x, y = np.log(points.N), np.log(points.D)
        x0, y0, target = float(x.mean()), float(y.mean()), np.log(points.L)

        def residual(parameters: Array) -> Array:
            with np.errstate(all="ignore"):
                away = np.log(self.law.at(parameters, x - x0, y - y0, y0)) - target
            return np.where(np.isfinite(away), away, 1e3)

        ended = [_minimum(residual, start, self.delta or FIRST_DELTA) for start in starts]
        best, _ = min(ended, key=lambda each: each[1])
        free = math.sqrt(len(points) / max(len(points) - number, 1))
        noise = robust_deviation(residual(best)) * free
        delta = self.delta or max(HUBER * noise, LEAST_DELTA)
        found, objective = _minimum(residual, best, delta)
        lowest = min(value for _, value in ended)
        law = self.law.of(found, x0, y0)
        if not math.isfinite(float(law.optimum(float(points.C.max()))[0])):
            raise DataError(
                f"Nonlinear needs runs that show a best size, but the {type(self.law).__name__} "
                f"nearest to these {len(points)} has none; add runs at more sizes and tokens, look "
                f"for runs far off, or fit a law of fewer numbers than {number}."
            )

        def draw(draws: int, random: np.random.Generator) -> Law:
            root = _deviations(residual, found, delta, points)
            drawn = found + random.standard_normal((draws, number)) @ root.T
            return self.law.of(drawn, x0, y0)

        return Solved(
            law=law,
            objective=objective,
            draw=draw,
            num_parameters=number,
            diagnostics=Diagnostics(
                agreement=float(np.mean([value <= lowest * (1 + SAME) for _, value in ended]))
            ),
        )


def _minimum(residual: Callable[[Array], Array], start: Array, delta: float) -> tuple[Array, float]:
    """The end of a descent from a start, and the Huber sum there."""
    from scipy.optimize import least_squares  # .3 s to import, for this approach alone

    found = least_squares(residual, start, loss="huber", f_scale=delta, x_scale="jac", max_nfev=500)
    return np.asarray(found.x), float(found.cost)


def _deviations(
    residual: Callable[[Array], Array], found: Array, delta: float, points: Points
) -> Array:
    """A root of the sandwich covariance by configuration, H^-1 (sum_g s_g s_g') H^-1."""
    away = residual(found)
    steps = STEP * np.maximum(np.abs(found), 1.0)
    jacobian = np.stack(
        [
            (residual(found + step) - residual(found - step)) / (2 * size)
            for size, step in zip(steps, np.diag(steps), strict=True)
        ],
        axis=1,
    )
    inside = np.abs(away) < delta
    hessian = jacobian[inside].T @ jacobian[inside]
    values, axes = np.linalg.eigh(hessian)
    kept = values > RIDGE * values[-1]
    inverse = (axes[:, kept] / values[kept]) @ axes[:, kept].T
    pull = jacobian * np.clip(away, -delta, delta)[:, None]
    number = int(points.cluster.max()) + 1
    scores = np.zeros((number, len(found)))
    np.add.at(scores, points.cluster, pull)
    small = math.sqrt(number / max(number - len(found), 1))
    return np.asarray(inverse @ scores.T * small @ _orthogonal(scores))


def _orthogonal(scores: Array) -> Array:
    """Columns that turn scores into a root of their sum of squares, shape (G, P)."""
    left, _, right = np.linalg.svd(scores, full_matrices=False)
    return np.asarray(left @ right)
