"""R_D and R_N, what repeated tokens and excess params are worth, from pairs of runs.

A pair has one size and one number of tokens, D, but different numbers of distinct tokens, U. The
law's own misfit at (N, D) cancels in the difference of their losses, so that R_D hardly depends on
which other runs are fitted, as it does where all numbers are fitted together. N params, U distinct
tokens, P pairs, G nodes of the grid.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array, Law
from isoflop.laws.other_laws import DataConstrainedLaw
from isoflop.laws.points import Points, lies_on_a_line

__all__ = ["Pairs", "Worth", "with_worth"]

ENOUGH = 20
"""Sizes and numbers of tokens of runs that hardly repeat, from which on they alone are fitted."""
ROUNDS = 3
"""R_D and R_N and the law's other numbers are fitted in turns, and settle at once."""

GRID_D = np.geomspace(1, 200, 107)
GRID_N = np.append(np.geomspace(1, 100, 21), 1e6)
"""Nodes of R_D, in steps of 5 %, and of R_N; the last R_N is that of params which lose nothing."""
DELTA = 5e-3
"""Log loss at which Huber's function turns linear: the noise of one run."""
FRESH = 1.5
"""Most passes of the run of a pair that hardly repeats its data."""
FEWEST, FEWEST_PLACES = 6, 2
"""Fewest pairs, and fewest (N, D) that have some."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Runs that repeat their data, each with the mean of those of its (N, D) that hardly do."""

    points: Points
    rows: NDArray[np.intp]
    """Rows of the repeating runs, shape (P,)."""
    fresh: Array
    """Weights of the rows that the fresh loss is the mean of, shape (P, n)."""

    @classmethod
    def of(cls, points: Points) -> "Pairs | None":
        """The pairs among some points; None where they are too few for R_D."""
        passes = points.D / points.unique
        fresh: dict[Hashable, list[int]] = {}
        for row in np.flatnonzero(passes <= FRESH).tolist():
            fresh.setdefault((points.N[row], points.D[row]), []).append(row)
        rows = [
            row
            for row in np.flatnonzero(passes > FRESH).tolist()
            if (points.N[row], points.D[row]) in fresh
        ]
        places = {(points.N[row], points.D[row]) for row in rows}
        if len(rows) < FEWEST or len(places) < FEWEST_PLACES:
            return None
        weights = np.zeros((len(rows), len(points)))
        for pair, row in enumerate(rows):
            partners = fresh[points.N[row], points.D[row]]
            weights[pair, partners] = 1 / len(partners)
        return cls(points, np.array(rows, dtype=np.intp), weights)

    def rates(self, law: DataConstrainedLaw, weights: Array) -> tuple[Array, Array]:
        """R_D and R_N of the least Huber sum under weights of the runs, shape (R, n); each (R,).

        law: its E, A, B, alpha and beta are held.
        """
        misfit = self._misfit(law)
        size = np.abs(misfit)
        cost = np.where(size <= DELTA, misfit**2 / 2, DELTA * (size - DELTA / 2))
        shared = np.minimum((weights @ self.fresh.T) > 0, 1) * weights[:, self.rows]
        best = np.argmin(shared @ cost.T, axis=1)
        at_D, at_N = np.unravel_index(best, (len(GRID_D), len(GRID_N)))
        return GRID_D[at_D], GRID_N[at_N]

    def worth(self, law: DataConstrainedLaw, weights: Array) -> DataConstrainedLaw:
        """The law with R_D and R_N under weights, shape (R, n), or (n,) for one law."""
        R_D, R_N = self.rates(law if np.ndim(law.E) == 0 else law.entry(0), np.atleast_2d(weights))
        if np.ndim(weights) == 1:
            return replace(law, R_D=float(R_D[0]), R_N=float(R_N[0]))
        return replace(law, R_D=R_D, R_N=R_N)

    def _misfit(self, law: DataConstrainedLaw) -> Array:
        """Log ratio of losses in the law minus that in the runs at each node, shape (G, P)."""
        points = self.points
        seen = np.log(points.L[self.rows]) - self.fresh @ np.log(points.L)
        plain: ChinchillaLaw = law.chinchilla
        misfit = []
        for R_D in GRID_D:
            for R_N in GRID_N:
                worth = replace(law, R_D=float(R_D), R_N=float(R_N))
                log_loss = np.log(plain.loss(*worth.effective(points.N, points.D, points.unique)))
                misfit.append(log_loss[self.rows] - self.fresh @ log_loss - seen)
        return np.array(misfit)


@dataclass(frozen=True, eq=False)
class Worth:
    """A law of repeated data with R_D and R_N from pairs, and where its other numbers come from."""

    law: DataConstrainedLaw
    pairs: Pairs
    base: Points
    """The runs that the other numbers are fitted to."""
    is_base: NDArray[np.bool_]
    """Which of all runs these are."""

    def refitted(self, law: Law, weights: Array) -> Law:
        """A law of arrays with R_D and R_N of the same resamples, weights of all runs (R, n)."""
        assert isinstance(law, DataConstrainedLaw)
        return self.pairs.worth(law, weights)


def with_worth(
    law: object, points: Points, solve: Callable[[DataConstrainedLaw, Points], Law]
) -> Worth | None:
    """R_D and R_N for a law of repeated data; None for other laws, or without enough pairs.

    The law's other numbers are those of runs that hardly repeat their data, as Muennighoff et al.
    fit them, where these are enough.

    solve: fits the other numbers to some points.
    """
    if not isinstance(law, DataConstrainedLaw):
        return None
    if not (np.isnan(law.R_D).all() and np.isnan(law.R_N).all()):
        return None
    pairs = Pairs.of(points)
    if pairs is None:
        return None
    is_base = FRESH * points.unique >= points.D
    base = points.pick(is_base)
    if len(set(zip(base.N, base.D, strict=True))) < ENOUGH or lies_on_a_line(base):
        base, is_base = points, np.ones(len(points), dtype=bool)
    for _ in range(ROUNDS):
        solved = solve(law, base)
        assert isinstance(solved, DataConstrainedLaw)
        found = pairs.worth(solved, np.ones(len(points)))
        law = replace(law, R_D=found.R_D, R_N=found.R_N)
        if not is_base.all():  # the base hardly depends on them
            break
    return Worth(law, pairs, base, is_base)
