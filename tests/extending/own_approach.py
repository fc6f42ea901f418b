"""An approach of one's own: one class with `solve`."""

from dataclasses import dataclass

import numpy as np

from isoflop.fitting.approaches.base import Solved
from isoflop.laws.base import Array, PowerLaw, entry
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points


@dataclass(frozen=True)
class LowestLoss:
    """A power law through the run of the lowest loss at each budget."""

    def solve(self, points: Points) -> Solved:
        rows = [np.flatnonzero(points.budget == budget) for budget in points.budgets]
        best = np.array([row[np.argmin(points.L[row])] for row in rows])

        def refit(weights: Array) -> FrontierLaw:
            N = _line(points.C[best], points.N[best], weights[:, best])
            D = _line(points.C[best], points.D[best], weights[:, best])
            return FrontierLaw(N, D)

        return Solved(entry(refit(np.ones((1, len(points)))), 0), objective=0.0, refit=refit)


def _line(C: Array, values: Array, weights: Array) -> PowerLaw:
    """Weighted least squares of logs, one line per row of weights."""
    x, y = np.log(C), np.log(values)
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    away = x - mean_x[:, None]
    slope = (weights * away * y).sum(axis=1) / (weights * away**2).sum(axis=1)
    return PowerLaw(np.exp(mean_y - slope * mean_x), slope)
