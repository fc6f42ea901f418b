"""Runs that neither a law nor a smooth discrepancy explains, because something went wrong in them.

x, y centred logs of N and D; L loss; V covariance; X columns of the law at its likeliest exponents.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.kriging.discrepancy import (
    NEAR,
    OUTLIER_NOISE,
    Hypothesis,
    Plane,
    first_law,
    kernel,
    noise_matrix,
)
from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["find_outliers"]

UNEXPLAINED = 5.0
"""Robust standard deviations from which on a run is an outlier. With 3 of 40 runs 5 % too high and
noise of .2 %, 88 % of them are detected; of good runs one in 300 is."""
LOWER = 1.3
"""Factor on the threshold for a loss below the prediction: mistakes in a run raise its loss."""
MOST_OUTLIERS = 0.1
"""Largest share of the runs that can be outliers; more is the law's own misfit."""
USUAL = Hypothesis(NEAR, length=1.8, ratio=1.0)
LEAST_DEVIATION = 1e-6


def find_outliers(points: Points) -> NDArray[np.bool_]:
    """Which runs lie far from their prediction by the others, shape (n,).

    They are removed one at a time, the farthest first.
    """
    is_outlier = np.zeros(len(points), dtype=bool)
    plane = Plane.of(points)
    law = first_law(plane, NEAR.multiplier(plane, plane.own_excess))
    excess = np.minimum(law.excess(plane), plane.own_excess)
    for _ in range(max(int(MOST_OUTLIERS * len(points)), 1)):
        above = _left_out(Plane.of(points, is_outlier), excess)
        distance = np.maximum(above, -above / LOWER)
        if not distance.max() > UNEXPLAINED:
            break
        is_outlier[np.argmax(distance)] = True
    return is_outlier


def _left_out(plane: Plane, excess: Array) -> Array:
    """Each loss minus its prediction from the other runs, in robust standard deviations.

    Known outliers have 0. With P = V^-1 - V^-1 X (X' V^-1 X)^-1 X' V^-1, the residual of run i
    against the others is (P L)_i / P_ii and its variance 1 / P_ii (Dubrule 1983). The multiplier
    comes from the law's excess where that is smaller than the run's own; otherwise the noise of an
    outlier would be scaled up with its own error.
    """
    multiplier = NEAR.multiplier(plane, np.minimum(excess, plane.own_excess))
    law = first_law(plane, multiplier)
    whitener = _whitener(plane, multiplier)
    columns = np.stack(
        [np.ones(len(plane.x)), np.exp(-law.alpha * plane.x), np.exp(-law.beta * plane.y)], axis=1
    )
    basis, _ = np.linalg.qr(whitener @ columns)
    residual = whitener @ plane.loss
    residual = residual - basis @ (basis.T @ residual)
    precision = np.sum(whitener**2, axis=0) - np.sum((whitener.T @ basis) ** 2, axis=1)
    standard = whitener.T @ residual / np.sqrt(np.maximum(precision, 1e-300))
    spread = robust_deviation(standard[~plane.is_outlier])
    return np.where(plane.is_outlier, 0, standard / max(spread, LEAST_DEVIATION))


def _whitener(plane: Plane, multiplier: Array) -> Array:
    noise = multiplier * plane.loss
    smooth = np.outer(noise, noise) * kernel(
        plane.x[:, None] - plane.x, plane.y[:, None] - plane.y, USUAL
    )
    independent = noise_matrix(plane, noise * np.where(plane.is_outlier, OUTLIER_NOISE, 1))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(independent + smooth)))
