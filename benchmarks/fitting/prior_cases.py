"""What priors are learned from: windows of budgets as evidence, later budgets as truths.

c = log N D; t = c minus its value at the largest evidence. The evidence is gathered once, so that
a prior is judged in a fraction of a second.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import more_minima
import numpy as np
from baseline import line_through_minima
from scores import interval_score
from windows import ALL_BELOW, BANDS, FARTHEST, MOST_DOUBT, WIDTHS, Case, Minimum, cases, minimum_of

from isoflop.errors import DataError
from isoflop.fitting.bayesian.evidence import Evidence, gather
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.base import Array
from isoflop.laws.points import Points

LEVEL = (0.05, 0.95)


@dataclass(frozen=True)
class Truth:
    """A later budget."""

    band: tuple[float, float]
    at: float
    """t of the target."""
    log_N: float
    log_loss: float
    baseline: float
    """Interval score of the baseline; NaN where it refuses."""


@dataclass(frozen=True, eq=False)
class Window:
    """Evidence of some adjacent budgets, and what came later."""

    sweep: str
    family: str
    num_seen: int
    is_open: bool
    """Whether the runs are in the folder of public tables."""
    t: Array
    log_N: Array
    covariance: Array
    log_loss: Array
    loss_covariance: Array
    truths: tuple[Truth, ...]


def windows() -> list[Window]:
    """Of the public tables and of the table of more minima."""
    return [*_of_tables(), *_of_minima()]


def _of_tables() -> Iterator[Window]:
    known = (case for case in cases() if case.num_seen != ALL_BELOW)
    for _, group in itertools.groupby(known, lambda case: id(case.seen)):
        part = list(group)
        first, points = part[0], Points.of(part[0].seen)
        evidence = gather(points, _posterior(points))
        if evidence is None:
            continue
        offset = float(np.median(np.log(points.C / (points.N * points.D))))
        truths = tuple(_truth(case, evidence, offset) for case in part)
        yield Window(first.sweep, first.family, first.num_seen, True, *_columns(evidence), truths)


def _posterior(points: Points):
    try:
        return Kriging().posterior(points)
    except DataError:
        return None


def _columns(evidence: Evidence) -> tuple[Array, ...]:
    return (
        evidence.c - evidence.c[-1],
        evidence.log_N,
        evidence.covariance,
        evidence.log_loss,
        evidence.loss_covariance,
    )


def _truth(case: Case, evidence: Evidence, offset: float) -> Truth:
    points = Points.of(case.seen)
    minima = [minimum_of(points.pick(points.budget == budget)) for budget in points.budgets]
    at = case.target.log_flops - offset - float(evidence.c[-1])
    return Truth(case.band, at, case.target.log_N, case.target.log_loss, _paid(minima, case.target))


def _paid(seen: Sequence[Minimum], target: Minimum) -> float:
    """Interval score of the baseline."""
    bracketed = [each for each in seen if math.isfinite(each.doubt)]
    if len(bracketed) < 2:
        return math.nan
    draws = line_through_minima(bracketed, target.log_flops, np.random.default_rng(0))
    return interval_score(*np.quantile(draws, LEVEL), target.log_N)


def _of_minima() -> Iterator[Window]:
    for sweep, rows in more_minima.read().items():
        numbers = [{name: float(row[name] or "nan") for name in _NUMBERS} for row in rows]
        for width in WIDTHS:
            for first in range(len(rows) - width):
                seen, later = numbers[first : first + width], numbers[first + width :]
                found = _window(sweep, rows[0]["family"], width, seen, later)
                if found is not None:
                    yield found


_NUMBERS = ("budget", *more_minima.FOUND, *more_minima.MEASURED)


def _window(sweep: str, family: str, width: int, seen: list, later: list) -> Window | None:
    used = [row for row in seen if math.isfinite(row["log_N"])]
    minima = [_measured(row) for row in seen]
    truths = []
    for row in later:
        ratio, target = row["budget"] / seen[-1]["budget"], _measured(row)
        if len(used) < 2 or not target.doubt < MOST_DOUBT or ratio > FARTHEST:
            continue
        band = next((low, high) for low, high in BANDS if low < ratio <= high)
        at = row["log_flops"] - used[-1]["log_flops"]
        truths.append(Truth(band, at, target.log_N, target.log_loss, _paid(minima, target)))
    if not truths:
        return None
    c, log_N, error, log_loss, loss_error = (
        np.array([row[name] for row in used]) for name in more_minima.FOUND
    )
    covariances = np.diag(error**2), np.diag(loss_error**2)
    columns = (c - c[-1], log_N, covariances[0], log_loss, covariances[1])
    return Window(sweep, family, width, False, *columns, tuple(truths))


def _measured(row: dict) -> Minimum:
    N, doubt, loss = (row[name] for name in more_minima.MEASURED)
    return Minimum(row["budget"], row["log_flops"], N, doubt, loss)
