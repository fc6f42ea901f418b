"""Approach 1: power laws through the corners of the lower hull of the training curves.

Hoffmann et al. 2022, section 3.1, with the convex hull of McLeish et al. 2025. N params, D tokens,
C FLOPs, L loss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.lines import power_law
from isoflop.fitting.screening.screen import describe
from isoflop.laws.base import Array, entry
from isoflop.laws.frontier import FrontierLaw
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["Envelope"]

Rows = NDArray[np.intp]

LEAST_CORNERS = 3
SLOPES = 200
"""Directions in which the hull of a resample is searched."""
CANDIDATES = 40
"""Rows kept for each direction; a resample lacks all of them once in 10^17."""
INCLUDED = 0.4587
"""Bootstrap weight above which a configuration is in the resample; 1 - 1/e of exponential weights
are above it."""


@dataclass(frozen=True)
class Envelope:
    """Power laws of the FLOPs through the lower convex hull of log loss over log FLOPs.

    The points are checkpoints of training runs: rows that share their run's name, or the curves of
    the runs. Before the learning rate has decayed, their losses lie above those of runs of that
    length. This approach has no law for the loss.
    """

    def solve(self, points: Points) -> Solved:
        """The frontier of the points; Raises DataError if the hull has fewer than three corners."""
        curves = _Curves.of(points)
        corners = lower_hull(curves.log_C, curves.log_L)
        if len(corners) < LEAST_CORNERS:
            raise DataError(
                f"Approach 1 needs at least {LEAST_CORNERS} corners on the hull of its training "
                f"curves, but got {len(corners)}; add checkpoints of runs at other sizes."
            )
        law = entry(curves.frontier(corners[None], np.ones((1, len(corners)), dtype=bool)), 0)
        return Solved(
            law=law,
            objective=curves.scatter(corners, law),
            refit=curves.refit,
            notes=_notes(points, curves),
        )


@dataclass(frozen=True, eq=False)
class _Curves:
    """Checkpoints as columns of shape (m,); `owner` is the index of each one's point."""

    log_C: Array
    log_L: Array
    log_N: Array
    log_D: Array
    owner: Rows

    @classmethod
    def of(cls, points: Points) -> "_Curves":
        """The checkpoints of the runs' curves where every run has one, else the runs."""
        if not all(run.curve for run in points.runs):
            C, L, N, D = (np.log(values) for values in (points.C, points.L, points.N, points.D))
            return cls._ordered(C, L, N, D, np.arange(len(points)))
        D, L = np.concatenate([np.array(run.curve) for run in points.runs]).T
        owner = np.repeat(np.arange(len(points)), [len(run.curve) for run in points.runs])
        usable = (D > 0) & (L > 0)
        D, L, owner = D[usable], L[usable], owner[usable]
        C = (points.C / points.D)[owner] * D
        return cls._ordered(np.log(C), np.log(L), np.log(points.N)[owner], np.log(D), owner)

    @classmethod
    def _ordered(cls, C: Array, L: Array, N: Array, D: Array, owner: Rows) -> "_Curves":
        """Logs by compute, loss and size: equal losses give one hull in whatever order."""
        order = np.lexsort((N, L, C))
        return cls(C[order], L[order], N[order], D[order], owner[order])

    def frontier(self, corners: Rows, usable: NDArray[np.bool_]) -> FrontierLaw:
        """Power laws through the usable corners, both of shape (R, corners)."""
        log_C = self.log_C[corners]
        N, D = (power_law(log_C, values[corners], usable) for values in (self.log_N, self.log_D))
        return FrontierLaw(N, D)

    def scatter(self, corners: Rows, law: FrontierLaw) -> float:
        """Half the sum of squared distances in log N of the corners from their power law."""
        away = self.log_N[corners] - np.log(law.num_params(np.exp(self.log_C[corners])))
        return float(0.5 * np.sum(away**2))

    def refit(self, weights: Array) -> FrontierLaw:
        """Frontiers of the configurations included by each of R sets of weights."""
        order = self._candidates()
        included = (weights > INCLUDED)[:, self.owner[order]]
        first = included.argmax(axis=2)
        corners = np.take_along_axis(
            np.broadcast_to(order, included.shape), first[:, :, None], axis=2
        )[:, :, 0]
        new = np.diff(corners, axis=1, prepend=-1) != 0  # neighbouring directions share corners
        return self.frontier(corners, new & included.any(axis=2))

    def _candidates(self) -> Rows:
        """The lowest rows in each direction, from the flattest to the steepest side of the hull."""
        corners = lower_hull(self.log_C, self.log_L)
        slopes = -np.diff(self.log_L[corners]) / np.diff(self.log_C[corners])
        directions = np.geomspace(slopes.max() * 2, slopes.min() / 2, SLOPES)
        return np.stack([_lowest(self.log_L + direction * self.log_C) for direction in directions])


def _lowest(height: Array) -> Rows:
    """The lowest rows, from the lowest on."""
    rows = np.arange(len(height))
    if len(height) > CANDIDATES:
        rows = np.argpartition(height, CANDIDATES)[:CANDIDATES]
    return np.asarray(rows[np.argsort(height[rows])])


def lower_hull(x: Array, y: Array) -> Rows:
    """Rows on the falling part of the lower convex hull, by increasing x (Andrew's algorithm).

    Only rows that no other to their left lies below can be on it: a few hundred of a million.
    """
    order = np.lexsort((y, x))
    corners: list[int] = []
    for row in order[y[order] <= np.minimum.accumulate(y[order])]:
        while len(corners) > 1 and _turns_right(x, y, corners[-2], corners[-1], row):
            corners.pop()
        corners.append(int(row))
    rows = np.array(corners, dtype=np.intp)
    return rows[: int(np.argmin(y[rows])) + 1]


def _turns_right(x: Array, y: Array, first: int, second: int, third: int) -> bool:
    rise, run = y[second] - y[first], x[second] - x[first]
    return bool(run * (y[third] - y[first]) - rise * (x[third] - x[first]) <= 0)


def _notes(points: Points, curves: _Curves) -> tuple[Note, ...]:
    """A note where few trained models make up the hull."""
    corners = lower_hull(curves.log_C, curves.log_L)
    owners = {int(points.cluster[curves.owner[corner]]) for corner in corners}
    if len(owners) >= LEAST_CORNERS:
        return ()
    run = points.runs[int(curves.owner[corners[0]])]
    text = (
        f"The hull touches {len(owners)} of the trained models only, such as {describe(run)}; "
        f"add other sizes."
    )
    return (Note("few-on-hull", text),)
