"""Runs that neither a law nor a smooth discrepancy explains: something went wrong in them.

x, y centred logs of N and D; L loss; V covariance; X the law's columns at its most likely exponents.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.kriging.discrepancy import NEAR, Hypothesis, Plane, kernel, noise_matrix, pilot
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["find_spoilt"]

FAR = 5.0
"""Robust standard deviations. With 3 of 40 runs 5 % too high and noise of .2 %, 88 % of them are found; of good runs
one in 300 is put aside."""
LOWER = 1.3
"""A loss below the others' prediction must be this much farther off: what goes wrong in a run raises its loss."""
AT_MOST = 0.1
"""Share of the runs; more is the law's own misfit."""
USUAL = Hypothesis(NEAR, length=1.8, ratio=1.0)
LEAST_DEVIATION = 1e-6


def find_spoilt(points: Points) -> NDArray[np.bool_]:
    """Which runs lie far from what all others say, found one at a time, the farthest first; shape (n,)."""
    spoilt = np.zeros(len(points), dtype=bool)
    first = Plane.of(points)
    excess = np.minimum(
        pilot(first, NEAR.multiplier(first, first.own_excess)).excess(first), first.own_excess
    )
    for _ in range(max(int(AT_MOST * len(points)), 1)):
        above = _left_out(Plane.of(points, spoilt), excess)
        distance = np.maximum(above, -above / LOWER)
        if not distance.max() > FAR:
            break
        spoilt[np.argmax(distance)] = True
    return spoilt


def _left_out(plane: Plane, excess: Array) -> Array:
    """Each loss minus its prediction from the other runs, in robust standard deviations; 0 for runs found spoilt.

    With P = V^-1 - V^-1 X (X' V^-1 X)^-1 X' V^-1, the residual of run i against the others is (P L)_i / P_ii and its
    variance 1 / P_ii (Dubrule 1983). The multiplier comes from the law's excess where that is smaller than the run's
    own, or a spoilt run would excuse itself.
    """
    multiplier = NEAR.multiplier(plane, np.minimum(excess, plane.own_excess))
    law = pilot(plane, multiplier)
    whitener = _whitener(plane, multiplier)
    columns = np.stack(
        [np.ones(len(plane.x)), np.exp(-law.alpha * plane.x), np.exp(-law.beta * plane.y)], axis=1
    )
    basis, _ = np.linalg.qr(whitener @ columns)
    residual = whitener @ plane.loss
    residual = residual - basis @ (basis.T @ residual)
    precision = np.sum(whitener**2, axis=0) - np.sum((whitener.T @ basis) ** 2, axis=1)
    standard = whitener.T @ residual / np.sqrt(np.maximum(precision, 1e-300))
    spread = 1.4826 * float(np.median(np.abs(standard[~plane.spoilt])))
    return np.where(plane.spoilt, 0, standard / max(spread, LEAST_DEVIATION))


def _whitener(plane: Plane, multiplier: Array) -> Array:
    noise = multiplier * plane.loss
    smooth = np.outer(noise, noise) * kernel(
        plane.x[:, None] - plane.x, plane.y[:, None] - plane.y, USUAL
    )
    independent = noise_matrix(plane, noise * np.where(plane.spoilt, 1e3, 1))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(independent + smooth)))
