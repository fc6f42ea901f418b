"""Very large tables: the few hundred runs that stand for all of them.

N params, D tokens, C FLOPs, L loss. A fit through all rows of a table with a hundred thousand of them would take hours
and memory without end, and gain nothing: neighbours say the same thing, and what limits an answer is the law's misfit,
not the noise of 300 runs.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_number
from isoflop.fitting.kriging.approach import MOST_RUNS
from isoflop.fitting.kriging.discrepancy import NEAR, Plane, first_law
from isoflop.fitting.screening.screen import Keep, Screened, screen
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.runs import Run

__all__ = ["sifted", "thinned"]

MANY = 2000
"""Runs up to which each counts for itself."""
FEW_BUDGETS = 30
"""More budgets than these are not those of an IsoFLOP grid, and need no runs of their own."""
WIDTHS = np.concatenate([[0.0], np.geomspace(0.02, 5, 60)])
"""Of a cell in log params and log tokens; 0 joins replicates alone."""
VOTES = 3
"""Runs of a cell that are compared, or as many as every cell has: the middle of three is safe from one spoilt run, and
the middle of many would be so sure that a cell of one run would seem to be spoilt."""

Rows = NDArray[np.intp]


def sifted(runs: Iterable[Run], keep: Keep = "sound") -> Screened:
    """Screened runs, thinned where there are very many; Raises DataError as `screen` does."""
    screened = screen(runs, keep)
    points, notes = thinned(screened.points)
    return replace(screened, points=points, told=(*screened.told, *notes))


def thinned(points: Points) -> tuple[Points, tuple[str, ...]]:
    """The points that stand for all of them, and a note; all of them up to 2,000.

    Runs are put together by params, tokens, passes over the data and budget, replicates first and then in cells as
    narrow as leave MOST_RUNS of them. The run of middle distance from a first law stands for its cell: a run as it was
    trained, and neither lucky nor spoilt where its neighbours are not.
    """
    if len(points) <= MANY:
        return points, ()
    width, cell = _cells(points)
    rows = _middle(cell, _away(points))
    return points.pick(np.isin(np.arange(len(points)), rows)), (
        _note(len(points), len(rows), width),
    )


def _cells(points: Points) -> tuple[float, Rows]:
    """The smallest width that leaves few enough cells, and the number of each run's cell."""
    low, high = 0, len(WIDTHS) - 1
    while low < high:
        half = (low + high) // 2
        few = int(_numbered(points, WIDTHS[half]).max()) < MOST_RUNS
        low, high = (low, half) if few else (half + 1, high)
    return float(WIDTHS[low]), _numbered(points, WIDTHS[low])


def _numbered(points: Points, width: float) -> Rows:
    counts = (points.N, points.D)
    apart: list[Array] = (
        [*counts] if width == 0 else [np.floor(np.log(values) / width) for values in counts]
    )
    if len(points.budgets) <= FEW_BUDGETS:
        apart.append(points.budget)
    apart.append(np.asarray(np.round(np.log2(points.D / points.unique))))
    number = np.zeros(len(points), dtype=np.intp)
    for values in apart:
        each = np.unique(values, return_inverse=True)[1]
        number = np.unique(number * (int(each.max()) + 1) + each, return_inverse=True)[1]
    return number


def _away(points: Points) -> Array:
    """Relative distance of each loss from a first law."""
    plane = Plane.of(points)
    return first_law(plane, NEAR.multiplier(plane, plane.own_excess)).residual(plane) / plane.loss


def _middle(cell: Rows, away: Array) -> Rows:
    """The row of middle `away` among the votes of each cell."""
    counts = np.bincount(cell)
    votes = max(VOTES, int(counts.min()))
    first = np.cumsum(counts) - counts
    given = np.argsort(cell, kind="stable")
    place = np.arange(len(cell)) - first[cell[given]]
    total = counts[cell[given]]
    # Votes are spread evenly over the order of the rows, which often means something (time, sweep).
    voting = given[
        (place * votes) // np.maximum(total, votes)
        != ((place - 1) * votes) // np.maximum(total, votes)
    ]
    ranked = voting[np.lexsort((away[voting], cell[voting]))]
    kept = np.bincount(cell[ranked])
    return np.asarray(ranked[np.cumsum(kept) - kept + (kept - 1) // 2])


def _note(given: int, used: int, width: float) -> str:
    alike = (
        "the same params and tokens"
        if width == 0
        else f"params and tokens within x{format_number(np.exp(width), 3)}"
    )
    return (
        f"{used} of {given} runs stand for all of them, which is as sure and far faster: of those with {alike}, the "
        f"one of middle loss was used."
    )
