"""Waves: whether the losses of neighbouring sizes miss a law in the same direction.

Under noise alone they do not. A wave means that something other than size and tokens changes
between the runs of a budget, such as a learning rate that suits only some of the sizes.
"""

import math
from collections.abc import Iterator

import numpy as np

from isoflop.display.format import format_percent
from isoflop.fitting.approaches.base import Solved
from isoflop.laws.base import Array, Surface
from isoflop.laws.cost import cost_for
from isoflop.laws.other_laws import losses_of
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["waves"]

WINDOW = math.log(4)
"""Log N on either side of the optimum; farther off, every law misses the losses smoothly."""
LEAST_PAIRS, LEAST_SIZES = 12, 4
STRONG = 2.5
"""Standard errors of the correlation from which on it is a wave."""
LEAST_RESIDUAL = 0.0015
"""Root mean square of the residuals, as a share of the loss, below which a wave does not matter."""


def waves(points: Points, solved: Solved) -> Iterator[Note]:
    """A note where neighbours near the optimum miss the law in the same direction."""
    if not isinstance(solved.law, Surface):
        return
    parts = [part for part in _residuals(points, solved.law) if len(part) >= LEAST_SIZES]
    pairs = sum(len(part) - 1 for part in parts)
    if pairs < LEAST_PAIRS:
        return
    square = float(np.mean(np.concatenate(parts) ** 2))
    together = sum(float(part[1:] @ part[:-1]) for part in parts) / pairs
    correlation = together / max(square, 1e-30)
    if correlation * math.sqrt(pairs) > STRONG and math.sqrt(square) > LEAST_RESIDUAL:
        text = (
            f"Near the optimum the losses leave the law in waves of about "
            f"{format_percent(math.sqrt(square))}: sizes next to each other are off in the same "
            f"direction (correlation {correlation:.2f}); look for what changes with size besides "
            f"the params, such as the learning rate."
        )
        yield Note("waves", text)


def _residuals(points: Points, law: Surface) -> Iterator[Array]:
    """Mean log residual of each size near a budget's optimum, minus the budget's mean."""
    away = np.log(points.L / losses_of(law, points))
    cost = cost_for(law, points.runs)
    for budget in points.budgets:
        rows = np.flatnonzero(points.budget == budget)
        flops = float(np.exp(np.log(points.C[rows]).mean()))
        best = float(law.optimum(flops, cost)[0])
        near = rows[np.abs(np.log(points.N[rows] / best)) <= WINDOW]
        if len(near):
            sizes, group = np.unique(points.N[near], return_inverse=True)
            mean = np.bincount(group, away[near]) / np.bincount(group)
            yield mean - mean.mean() if len(sizes) else mean
