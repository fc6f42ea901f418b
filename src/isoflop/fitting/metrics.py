"""fit_metric(): a second metric, such as accuracy, as a function of the held-out loss."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Protocol

import numpy as np

from isoflop import arguments
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_interval,
    format_number,
    format_percent,
    join_words,
    quoted,
)
from isoflop.display.table import Table
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.from_name import require_draws
from isoflop.fitting.law_table import law_table
from isoflop.fitting.screening.screen import screen
from isoflop.fitting.solve.sigmoid import Box, SigmoidLaw, fit_sigmoid
from isoflop.fitting.uncertainty import bootstrap_weights
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run
from isoflop.tabular import Tabular

__all__ = ["MetricFit", "fit_metric"]

NUM_PARAMETERS = 4
FEWEST = 6
"""Fewest runs of different loss: four numbers are fitted, and residuals must be left."""
EXPLAINED = 0.9
"""Least share of the metric's variance that the loss should explain."""

LARGEST = 1e30
_AN_END = f"a number from -{LARGEST:g} to {LARGEST:g}"
EXACT = 1 - 1e-6
"""Share of variance above which the residuals come from the solver's grid alone."""


class HasLoss(Protocol):
    """An answer, such as an Optimum."""

    @property
    def loss(self) -> Estimate | None: ...


@dataclass(frozen=True, kw_only=True)
class MetricFit(Tabular):
    """A metric as a sigmoid of the loss, with the noise around it and reasons to doubt it."""

    name: str
    law: SigmoidLaw
    resamples: SigmoidLaw
    """The same with arrays: one entry per resample."""
    runs: tuple[Run, ...]
    """Runs that were used."""
    residual: float
    """Standard deviation of the runs' metrics around the law, in the metric's unit."""
    explained: float
    """Share of the metric's variance among the runs that the loss explains."""
    level: float
    seed: int
    notes: tuple[Note, ...]

    def predict(self, loss: float | Estimate | HasLoss) -> Estimate:
        """The metric of a run at a loss, or at the loss of an answer.

        The interval includes the uncertainty of both and the noise of a run.

        Raises DataError for an answer without a loss.
        """
        given: object = getattr(loss, "loss", None) if hasattr(loss, "loss") else loss
        if given is None:
            raise DataError(
                "fit_metric: the answer has no loss to follow; fit with Kriging() or Parametric()."
            )
        middle = given.value if isinstance(given, Estimate) else given
        value = float(arguments.number(middle, "fit_metric: loss"))
        random = np.random.default_rng(self.seed + 1)
        number = len(np.atleast_1d(self.resamples.worst))
        losses = _drawn(given, self.level, number, random) if isinstance(given, Estimate) else value
        noise = self.residual * random.standard_t(max(len(self.runs) - NUM_PARAMETERS, 1), number)
        return estimate(self.law.metric(value), self.resamples.metric(losses) + noise, self.level)

    def table(self) -> Table:
        """The law's numbers with their intervals."""
        return law_table(vars(self.law), vars(self.resamples), self.level)

    def __str__(self) -> str:
        rows = [
            (row[0], _four_digits(row[1]), format_interval(row[2], row[3], _four_digits))
            for row in self.table().rows
        ]
        rows.append(
            (
                "residual",
                format_number(self.residual, 2),
                f"around the law, over {len(self.runs)} runs",
            )
        )
        rows.append(("explained", format_percent(self.explained), "of the variance among the runs"))
        heading = f"{self.name} as a sigmoid of the loss ({format_percent(self.level)} intervals)"
        return "\n".join(
            filter(None, (heading, align_columns(rows, "  "), format_bullets(self.notes)))
        )


def fit_metric(
    source: Fit | Iterable[Run],
    name: str,
    *,
    worst: float | None = None,
    best: float | None = None,
    resamples: int = 1000,
    level: float | None = None,
    seed: int = 0,
) -> MetricFit:
    """A metric of the runs as a function of their loss: Run.metrics[name] as a sigmoid of Run.loss.

    source: runs, or a fit, whose runs and level are then used.
    name: key of `Run.metrics`, as a column or `Task(metrics=)` named it.
    worst, best: known limits of the metric at high and at low loss, such as chance and 1. None fits
        them, within 0 and 1 if the metric of every run is.
    resamples: number of sigmoids drawn for the intervals, by a bootstrap over configurations.
    level, seed: as for `fit`; None for the level of the fit, or 0.9.

    Raises DataError if too few runs of different loss have the metric.
    """
    name = arguments.word(name, "fit_metric: name")
    worst, best = (
        None
        if end is None
        else float(arguments.number(end, f"fit_metric: {which}", must=_AN_END, holds=_is_end))
        for end, which in ((worst, "worst"), (best, "best"))
    )
    of_source = source.level if isinstance(source, Fit) else 0.9
    resamples, level, seed = require_draws(
        "fit_metric", resamples, of_source if level is None else level, seed
    )
    given = source.runs if isinstance(source, Fit) else screen(source).points.runs
    runs = tuple(run for run in given if math.isfinite(run.metrics.get(name, math.nan)))
    _require(given, runs, name)
    points, metrics = Points.of(runs), np.array([run.metrics[name] for run in runs])
    box = _box(metrics, worst, best)
    weights = bootstrap_weights(points, NUM_PARAMETERS, resamples, np.random.default_rng(seed))
    law = fit_sigmoid(points.L, metrics, np.ones((1, len(runs))), box)
    law = SigmoidLaw(*(float(getattr(law, part.name)[0]) for part in fields(law)))
    off = metrics - law.metric(points.L)
    free = NUM_PARAMETERS - sum(end is not None for end in (worst, best))
    explained = 1 - float(off @ off) / max(float(np.sum((metrics - metrics.mean()) ** 2)), 1e-300)
    return MetricFit(
        name=name,
        law=law,
        resamples=fit_sigmoid(points.L, metrics, weights, box),
        runs=runs,
        residual=math.sqrt(float(off @ off) / (len(runs) - free)),
        explained=explained,
        level=level,
        seed=seed,
        notes=(
            *_notes(name, len(given) - len(runs), points.L, off, explained),
            *_middle_notes(name, law, points.L),
        ),
    )


def _is_end(value: float) -> bool:
    return abs(value) <= LARGEST


def _require(given: Sequence[Run], runs: Sequence[Run], name: str) -> None:
    if len({run.loss for run in runs}) >= FEWEST:
        return
    known = sorted({metric for run in given for metric in run.metrics})
    carried = f"; the runs carry {join_words(known)}" if known and name not in known else ""
    raise DataError(
        f"fit_metric needs at least {FEWEST} runs of different loss with the metric "
        f"{quoted(name)}, but got {len({run.loss for run in runs})}{carried}; record it with "
        f"Task(metrics=...) or name its column in columns=."
    )


def _box(metrics: Array, worst: float | None, best: float | None) -> Box:
    is_share = metrics.min() >= 0 and metrics.max() <= 1
    open_ = (0.0, 1.0) if is_share else (-math.inf, math.inf)
    return (open_ if worst is None else (worst, worst), open_ if best is None else (best, best))


def _notes(name: str, left_out: int, losses: Array, off: Array, explained: float) -> Iterator[Note]:
    if left_out:
        yield Note("runs-without-metric", f"{left_out} runs without {name} were left out.")
    if explained < EXPLAINED:
        text = (
            f"The loss explains {format_percent(explained)} of the variance of {name} among the "
            f"runs: predictions from it are as uncertain as the rest."
        )
        yield Note("weak-metric", text)
    ordered = off[np.argsort(losses)]
    together = float(ordered[1:] @ ordered[:-1]) / max(float(ordered @ ordered), 1e-300)
    standard_error = 1 / math.sqrt(len(off))  # of independent residuals
    if explained < EXACT and together > 2 * standard_error:
        text = (
            f"Neighbouring runs err alike around the sigmoid of {name} (correlation "
            f"{format_number(together, 2)}): its shape is not theirs, and intervals are too narrow."
        )
        yield Note("correlated-metric-residuals", text)


def _middle_notes(name: str, law: SigmoidLaw, losses: Array) -> tuple[Note, ...]:
    if losses.min() <= law.middle <= losses.max():
        return ()
    where, end = ("below", "best") if law.middle < losses.min() else ("above", "worst")
    text = (
        f"The middle of the sigmoid of {name}, loss {format_number(float(law.middle))}, lies "
        f"{where} every run's: how it goes on there is a guess; give {end}= where it is known."
    )
    return (Note("middle-outside-runs", text),)


def _drawn(given: Estimate, level: float, number: int, random: np.random.Generator) -> Array:
    """Losses drawn from an estimate: half a normal distribution on each side of its interval."""
    reach = NormalDist().inv_cdf((1 + level) / 2)
    normal = random.standard_normal(number) / reach
    return np.asarray(
        given.value
        + np.where(normal < 0, given.value - given.low, given.high - given.value) * normal
    )


def _four_digits(value: float) -> str:
    return format_number(value, 4)
