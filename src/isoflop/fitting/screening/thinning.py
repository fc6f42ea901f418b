"""A few hundred runs that represent a very large table.

N params, D tokens, C FLOPs, L loss. A fit of a hundred thousand rows would take hours and far too
much memory, and gain nothing: neighbouring rows repeat each other, and an answer is limited by the
misfit of the law, not by the noise of 300 runs.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_number
from isoflop.fitting.kriging.approach import MOST_RUNS
from isoflop.fitting.kriging.discrepancy import NEAR, Plane, first_law
from isoflop.fitting.screening.screen import PLAIN, Keep, Screened, screen
from isoflop.fitting.screening.selection import Needs
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["sifted", "thinned"]

MANY = 2000
"""Largest number of runs that are all used."""
FEW_BUDGETS = 30
"""Largest number of budgets of an IsoFLOP grid, each of which keeps runs of its own."""
WIDTHS = np.concatenate([[0.0], np.geomspace(0.02, 5, 60)])
"""Widths of a cell in log params and log tokens; 0 joins replicates alone."""
VOTES = 3
"""Runs of a cell that are compared, or as many as every cell has.

The middle of three is robust against one bad run. The middle of many would scatter so little that a
cell of one run would look like an outlier.
"""

Rows = NDArray[np.intp]


def sifted(runs: Iterable[Run], keep: Keep = "sound", needs: Needs = PLAIN) -> Screened:
    """Screened runs, thinned where there are very many.

    Raises DataError as `screen` does.
    """
    screened = screen(runs, keep, needs)
    points, notes = thinned(screened.points)
    return replace(screened, points=points, selection=(*screened.selection, *notes))


def thinned(points: Points) -> tuple[Points, tuple[Note, ...]]:
    """The points that represent all of them, and a note; all points up to 2,000.

    Runs are grouped by params, tokens, passes over the data and budget: replicates first, then
    cells as narrow as leave MOST_RUNS of them. Each cell is represented by the run of middle
    distance from a first law: an unchanged run, neither better nor worse than its neighbours.
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
    # Votes are spread evenly over the rows, whose order often follows time or sweeps.
    voting = given[
        (place * votes) // np.maximum(total, votes)
        != ((place - 1) * votes) // np.maximum(total, votes)
    ]
    ranked = voting[np.lexsort((away[voting], cell[voting]))]
    kept = np.bincount(cell[ranked])
    return np.asarray(ranked[np.cumsum(kept) - kept + (kept - 1) // 2])


def _note(given: int, used: int, width: float) -> Note:
    alike = (
        "the same params and tokens"
        if width == 0
        else f"params and tokens within x{format_number(np.exp(width), 3)}"
    )
    text = (
        f"{used} of {given} runs represent all of them, which is as precise and far faster: of "
        f"those with {alike}, the one of middle loss was used."
    )
    return Note("table-thinned", text)
