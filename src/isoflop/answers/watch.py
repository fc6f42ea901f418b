"""watch(): the curve of a run that is still training, against the loss that it should reach.

The training loss of a run whose learning rate decays lies above its final one, and falls fastest at
the end, so that a law of final losses says little of it before. The curves of the sweep's own runs
say how far above it is normal to be at each share of training. What is compared is the excess, the
training loss at a share of a run minus the final loss: it is a factor times powers of N params and
D tokens, nearly, whatever the schedule.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from isoflop import arguments
from isoflop.answers.run_loss import RunLoss, run_losses
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_change,
    format_count,
    format_flops,
    format_interval,
    format_loss,
    format_percent,
)
from isoflop.display.table import Column, Table
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.screening.collapse import FEWEST_POINTS, FEWEST_RUNS, LEAST_DEVIATION
from isoflop.laws.base import Array
from isoflop.runs import CurvePoint, Run
from isoflop.storage.curve_file import read_curve
from isoflop.tabular import Tabular

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Watched", "watch"]

Course = Literal["on course", "above", "below", "unknown"]

WARM_UP = 0.1
"""Share of training before which a curve says nothing: it is warm-up."""
WINDOW = 0.05
"""Share of training over whose end a curve is averaged."""
FINISHED = 0.995
"""Share from which on a run counts as finished."""
BY_PARAMS, BY_TOKENS = np.linspace(-0.4, 0.2, 21), np.linspace(-0.6, 0.1, 24)
"""Exponents of N and of D in the excess, equally likely before the curves are seen."""
MISFIT = 0.08
"""Standard deviation of the excess by the form of its law, as a share of it, for each decade of N·D
beyond the runs. In simulated curves of 100 times the runs' compute, with excesses that are no
products of powers, intervals of 90 % would else hold the final loss in 8 of 12."""
NUM_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Watched(Tabular):
    """Where a run stands: its curve so far, and the final loss that it leads to."""

    forecast: RunLoss
    """The loss that the law expects of the run at its end."""
    num_tokens: float
    """Tokens trained so far."""
    share: float
    """The same as a share of the run's tokens."""
    loss: float
    """Training loss there, averaged over the last twentieth of the run; NaN once it diverged."""
    projected: Estimate | None
    """Final loss by the sweep's curves at the same share; None where these cannot say."""
    num_curves: int
    """Runs whose curves were compared."""
    course: Course
    """How the projected loss lies to the forecast's interval; unknown where nothing can be said."""
    reason: str
    """The same in a sentence."""

    @property
    def unseen_excess(self) -> float | None:
        """Excess over the forecast, as a share of the loss, that would not be seen yet."""
        if self.projected is None:
            return None
        expected = self.forecast.loss
        return expected.high / expected.value * self.projected.value / self.projected.low - 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons to doubt the forecast."""
        return self.forecast.notes

    def json_values(self) -> Mapping[str, object]:
        """Values for other programs."""
        names = ("num_tokens", "share", "loss", "projected", "num_curves", "course", "reason")
        return {
            "forecast": self.forecast,
            **{name: getattr(self, name) for name in names},
            "unseen_excess": self.unseen_excess,
        }

    def table(self) -> Table:
        """One row: tokens so far, their share, the loss there, the forecast and the projection."""
        none = Estimate(math.nan, math.nan, math.nan)
        both = [("forecast", self.forecast.loss), ("projected", self.projected or none)]
        columns = [
            column
            for name, _ in both
            for column in (
                Column(name, name, format_loss),
                Column(
                    format_percent(self.forecast.level),
                    (f"{name}_low", f"{name}_high"),
                    lambda ends: format_interval(ends[0], ends[1], format_loss),
                    is_number=False,
                ),
            )
        ]
        losses = [part for _, one in both for part in (one.value, (one.low, one.high))]
        return Table.filled(
            (
                Column("tokens", "num_tokens", format_count),
                Column("share", "share", format_percent),
                Column("loss", "loss", format_loss),
                *columns,
                Column("course", "course", str, is_number=False),
            ),
            [(self.num_tokens, self.share, self.loss, *losses, self.course)],
        )

    def __str__(self) -> str:
        run = self.forecast
        head = (
            f"A run of {format_count(run.num_params)} params on {format_count(run.num_tokens)} "
            f"tokens, {format_flops(run.flops)} FLOPs ({format_percent(run.level)} intervals)"
        )
        done = f"at {format_count(self.num_tokens)} tokens, {format_percent(self.share)} of the run"
        rows = [("training loss", format_loss(self.loss), done)]
        if self.projected is not None:
            rows.append(("projected final loss", *_cells(self.projected)))
        rows.append(("forecast final loss", *_cells(run.loss)))
        parts = (head, align_columns(rows, "  "), self.reason, format_bullets(self.notes))
        return "\n".join(part for part in parts if part)


def _cells(loss: Estimate) -> tuple[str, str]:
    return format_loss(loss.value), format_interval(loss.low, loss.high, format_loss)


def watch(
    fit: Fit,
    curve: "str | os.PathLike[str] | pd.DataFrame | Sequence[CurvePoint]",
    *,
    num_params: float | str,
    num_tokens: float | str,
    columns: Mapping[str, str] | None = None,
) -> Watched:
    """Whether a run that is still training heads for the loss that a fit expects of it.

    Before its end, the run is compared with the curves of the fit's runs at the same share of
    training, so that it must follow their schedule. Where they have no curves, nothing can be said
    unless the loss is already below the forecast or the run is finished.

    fit: of the sweep.
    curve: tokens and training losses so far: a table with the columns `tokens` and `loss`, a
        store's `curve.jsonl`, a data frame, or pairs.
    num_params, num_tokens: of the whole run, as for `predict`.
    columns: of the curve's table, as `{"tokens": "step * 4194304", "loss": "train/nll"}`.

    Raises DataError where the curve cannot be read, or belongs to a longer run; StoreError where
    its file does not exist.
    """
    N = float(arguments.count(num_params, "watch: num_params"))
    D = float(arguments.count(num_tokens, "watch: num_tokens"))
    points = read_curve(curve, columns)
    seen = points[-1][0]
    share = seen / D
    if share > 1.02:
        raise DataError(
            f"watch: the curve must end within the run's {format_count(D)} tokens, but goes on to "
            f"{format_count(seen)}; check num_tokens, and the unit of the curve's tokens."
        )
    forecast = run_losses(fit, N, D)
    assert isinstance(forecast, RunLoss)
    runs = _with_curves(fit.runs)
    share = min(share, 1.0)
    now, variance = _near(points, D, share)
    loss = math.exp(now)
    projected = None
    if math.isfinite(loss) and share >= WARM_UP and len(runs) >= FEWEST_RUNS:
        above = _above_final(runs, N, D, share)
        noise = math.sqrt(variance) * np.random.default_rng(1).standard_normal(NUM_DRAWS)
        finals = loss * np.exp(noise) - above
        projected = estimate(float(np.median(finals)), finals, fit.level)
    course = _course(forecast.loss, share, loss, projected)
    reason = _reason(course, forecast.loss, share, loss, projected, runs)
    return Watched(
        forecast=forecast,
        num_tokens=seen,
        share=share,
        loss=loss,
        projected=projected,
        num_curves=len(runs),
        course=course,
        reason=reason,
    )


def _with_curves(runs: Sequence[Run]) -> list[Run]:
    """The runs whose curves can be compared, of the schedule that most of them have."""
    able = [
        run
        for run in runs
        if len(run.curve) >= FEWEST_POINTS and all(0 < loss < math.inf for _, loss in run.curve)
    ]
    kinds = Counter((run.spec.schedule, run.spec.cooldown) for run in able)
    usual = max(kinds, key=lambda kind: kinds[kind], default=None)
    return [run for run in able if (run.spec.schedule, run.spec.cooldown) == usual]


def _near(points: Sequence[CurvePoint], num_tokens: float, share: float) -> tuple[float, float]:
    """Log of the loss up to a share of a run, and the variance of that mean; NaN once diverged."""
    tokens, losses = np.array(points, dtype=float).T
    if not 0 < losses[-1] < math.inf:
        return math.nan, math.nan
    known = (losses > 0) & np.isfinite(losses)
    at, logs = tokens[known] / num_tokens, np.log(losses[known])
    inside = (at > share - WINDOW) & (at <= share + 1e-9)
    recent = logs[at > share / 2]  # before, second differences are the bend of the curve
    scatter = float(np.mean(np.diff(recent, 2) ** 2) / 6) if len(recent) > 2 else 0.0
    if not inside.any():
        return float(np.interp(share, at, logs)), scatter
    return float(logs[inside].mean()), scatter / int(inside.sum())


def _above_final(runs: Sequence[Run], N: float, D: float, share: float) -> Array:
    """Draws of the excess at a share of a run, from the excess that others had there.

    Each pair of exponents counts by its likelihood with the factor and the scatter integrated out,
    so that the doubt grows with the distance from the runs.
    """
    finals = np.array([run.loss for run in runs])
    excess = np.exp([_near(run.curve, run.num_tokens, share)[0] for run in runs]) - finals
    sizes = np.log([run.num_params for run in runs])
    lengths = np.log([run.num_tokens for run in runs])
    x, y = sizes - sizes.mean(), lengths - lengths.mean()
    at_x, at_y = math.log(N) - sizes.mean(), math.log(D) - lengths.mean()
    by_params, by_tokens = (each.ravel() for each in np.meshgrid(BY_PARAMS, BY_TOKENS))
    powers = np.exp(by_params[:, None] * x + by_tokens[:, None] * y)
    squares = (powers**2).sum(axis=1)
    factor = powers @ excess / squares
    free = len(runs) - 1
    least = free * (LEAST_DEVIATION * float(np.median(finals))) ** 2
    rest = np.maximum(((excess - factor[:, None] * powers) ** 2).sum(axis=1), least)
    weights = (rest / rest.min()) ** (-free / 2)
    random = np.random.default_rng(0)
    rows = random.choice(len(weights), NUM_DRAWS, p=weights / weights.sum())
    scatter = np.sqrt(rest[rows] / random.chisquare(free, NUM_DRAWS))
    drawn, own, beyond = random.standard_normal((3, NUM_DRAWS))
    middle = factor[rows] + scatter / np.sqrt(squares[rows]) * drawn
    at = middle * np.exp(by_params[rows] * at_x + by_tokens[rows] * at_y)
    decades = max(at_x + at_y - float((x + y).max()), 0.0) / math.log(10)
    return np.asarray(at * (1 + MISFIT * decades * beyond) + scatter * own)


def _course(expected: Estimate, share: float, loss: float, projected: Estimate | None) -> Course:
    if not math.isfinite(loss):
        return "above"
    if projected is None:
        if loss < expected.low:
            return "below"
        if share < FINISHED:
            return "unknown"
        projected = Estimate(loss, loss, loss)
    if projected.low > expected.high:
        return "above"
    return "below" if projected.high < expected.low else "on course"


def _reason(
    course: Course,
    expected: Estimate,
    share: float,
    loss: float,
    projected: Estimate | None,
    runs: Sequence[Run],
) -> str:
    if not math.isfinite(loss):
        return "Its last loss is no finite number: the run has diverged."
    if projected is not None:
        return f"{_judged(course, expected, projected)} {_compared(runs, share)}"
    if course == "unknown":
        return _unknown(share, runs)
    if share < FINISHED:
        return (
            "The training loss is already below the forecast's interval: the run does better than "
            "forecast, or its data or its loss differ from the sweep's."
        )
    return (
        f"{_judged(course, expected, Estimate(loss, loss, loss))} The run is finished; this is its "
        f"training loss, and the forecast is of the loss on held-out data."
    )


def _judged(course: Course, expected: Estimate, projected: Estimate) -> str:
    change = format_change(projected.value / expected.value - 1)
    if course != "on course":
        return f"Off course: the run heads for a loss {course} the forecast's interval, {change}."
    unseen = expected.high / expected.value * projected.value / projected.low - 1
    return (
        f"On course: {change} against the forecast; an excess of less than "
        f"{format_percent(unseen)} would not be seen yet."
    )


def _compared(runs: Sequence[Run], share: float) -> str:
    schedule = runs[0].spec.schedule
    named = "" if schedule is None else f", {schedule}"
    return (
        f"Compared with the curves of {len(runs)} runs at {format_percent(share)} of training: "
        f"the run must have their schedule{named}, and report the same training loss."
    )


def _unknown(share: float, runs: Sequence[Run]) -> str:
    if len(runs) >= FEWEST_RUNS:
        return (
            f"Too early to judge: the first {format_percent(WARM_UP)} of training is warm-up, and "
            f"{format_percent(share)} is done."
        )
    have = "none of the sweep's runs has" if not runs else f"only {len(runs)} of its runs have"
    return (
        f"It cannot be judged before its end: {have} a training curve to compare with "
        f"({FEWEST_RUNS} are needed), and a loss lies above its final one until the rate has "
        f"decayed."
    )
