"""RunLoss: the loss that a run of given params and tokens should reach, with its interval.

N params, D tokens, C FLOPs; u log of N over the best N on as much N D, c log N D.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np

from isoflop import arguments
from isoflop.answers.answer_notes import FAR, OUTSIDE, below_notes
from isoflop.answers.optimum import distance_words
from isoflop.answers.possible import decades_outside
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_count,
    format_flops,
    format_html,
    format_interval,
    format_loss,
    format_number,
    format_percent,
)
from isoflop.display.table import Column, Table
from isoflop.display.writers import to_text
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.metrics import MetricFit
from isoflop.laws.base import Array, Law, Number, Surface
from isoflop.laws.cost import cost_for
from isoflop.laws.other_laws import losses_of
from isoflop.laws.points import Points
from isoflop.notes.merging import of_several
from isoflop.notes.note import Note
from isoflop.tabular import Tabular

__all__ = ["RunLoss", "RunLosses", "run_losses"]

ALIKE = 0.5
"""Standard deviation in u of the runs whose residuals tell how the law errs at a run."""
AS_LARGE = 3.0
"""Scale in c of the same: residuals of much smaller runs count less."""
PRIOR_RUNS = 20.0
"""Weight, in runs, of no correction and of all residuals near the optimum against the runs alike:
residuals of neighbours repeat each other, so that few of them say much."""
NEAR = 1.5
"""u within which runs are near the optimum."""


@dataclass(frozen=True, kw_only=True)
class RunLoss(Tabular):
    """Expected loss of one run, with the interval of its measurement and reasons to doubt it."""

    num_params: float
    num_tokens: float
    flops: float
    loss: Estimate
    level: float
    """Nominal coverage of the interval, 0.9 for 90 %."""
    extrapolation: float
    """Decades of FLOPs beyond the largest run; 0 within the runs, negative below the smallest."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """Other expected measures of the run, by name; see `with_metric`."""
    notes: tuple[Note, ...] = ()

    def with_metric(self, stage: MetricFit) -> "RunLoss":
        """The same with the metric that `fit_metric` expects at its loss."""
        notes = (*self.notes, *(note for note in stage.notes if note not in self.notes))
        return replace(self, metrics={**self.metrics, stage.name: stage.predict(self)}, notes=notes)

    def table(self) -> Table:
        """One row: params, tokens, FLOPs and loss with its interval."""
        return _table([self])

    def __str__(self) -> str:
        head = (
            f"A run of {format_count(self.num_params)} params on {format_count(self.num_tokens)} "
            f"tokens, {format_flops(self.flops)} FLOPs ({format_percent(self.level)} interval)"
        )
        parts = (head, align_columns(_rows(self), "  "), format_bullets(self.notes))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return format_html("Expected loss of a run", [_rows(self)], self.notes)


@dataclass(frozen=True)
class RunLosses(Tabular, Sequence[RunLoss]):
    """Expected losses of several runs, in their order; prints as a table."""

    runs: tuple[RunLoss, ...]

    @overload
    def __getitem__(self, index: int) -> RunLoss: ...
    @overload
    def __getitem__(self, index: slice) -> "RunLosses": ...
    def __getitem__(self, index: int | slice) -> "RunLoss | RunLosses":
        return RunLosses(self.runs[index]) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def with_metric(self, stage: MetricFit) -> "RunLosses":
        """The same runs, each with the metric that `fit_metric` expects at its loss."""
        return RunLosses(tuple(run.with_metric(stage) for run in self.runs))

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes of the run with the most FLOPs, and kinds of note that only others have."""
        return of_several((run.flops, run.notes) for run in self.runs)

    def table(self) -> Table:
        """One row for each run."""
        return _table(self.runs)

    def __str__(self) -> str:
        parts = (to_text(self.table()), format_bullets(self.notes))
        return "\n".join(part for part in parts if part)


def _rows(run: RunLoss) -> list[tuple[str, ...]]:
    interval = format_interval(run.loss.low, run.loss.high, format_loss)
    return [
        ("loss", format_loss(run.loss.value), interval),
        *(
            (name, format_number(one.value), format_interval(one.low, one.high, format_number))
            for name, one in run.metrics.items()
        ),
        ("extrapolation", *distance_words(run.extrapolation, "lies within the runs")),
    ]


def _table(runs: Sequence[RunLoss]) -> Table:
    level = format_percent(runs[0].level) if runs else ""
    metrics = [*dict.fromkeys(name for run in runs for name in run.metrics)]
    return Table.filled(
        (
            Column("params", "params", format_count),
            Column("tokens", "tokens", format_count),
            Column("FLOPs", "flops", format_flops),
            *_columns("loss", level, format_loss),
            *(column for name in metrics for column in _columns(name, level, format_number)),
        ),
        [
            (
                run.num_params,
                run.num_tokens,
                run.flops,
                *_ends(run.loss),
                *(part for name in metrics for part in _ends(run.metrics[name])),
            )
            for run in runs
        ],
    )


def _columns(name: str, level: str, write: Callable[[float], str]) -> tuple[Column, Column]:
    """Columns of a value and its interval."""
    ends = Column(
        level,
        (f"{name}_low", f"{name}_high"),
        lambda ends: format_interval(ends[0], ends[1], write),
        is_number=False,
    )
    return Column(name, name, write), ends


def _ends(value: Estimate) -> tuple[float, tuple[float, float]]:
    return value.value, (value.low, value.high)


def run_losses(fit: Fit, num_params: object, num_tokens: object) -> RunLoss | RunLosses:
    """The loss of a run, or of several: lists of equal length, or one number for all.

    Raises DataError for impossible numbers, and for a fit without a law of the loss.
    """
    both = [
        [
            float(arguments.positive(one, f"predict: {name}"))
            for one in (
                arguments.listed(value, f"predict: {name}") if arguments.several(value) else [value]
            )
        ]
        for name, value in (("num_params", num_params), ("num_tokens", num_tokens))
    ]
    number = max(map(len, both))
    if any(len(values) not in (1, number) for values in both):
        raise DataError(
            f"predict: num_params and num_tokens must have as many values, but got {len(both[0])} "
            f"and {len(both[1])}; give one of each for every run."
        )
    N, D = (values * (number if len(values) == 1 else 1) for values in both)
    runs = _predicted(fit, np.array(N), np.array(D))
    is_one = not arguments.several(num_params) and not arguments.several(num_tokens)
    return runs[0] if is_one else RunLosses(tuple(runs))


def _predicted(fit: Fit, N: Array, D: Array) -> list[RunLoss]:
    cost = cost_for(fit.law, fit.runs)
    C = np.asarray(6 * N * D if cost is None else cost(N) * D, dtype=float)
    shift, spread, outside = _residuals(fit, N, D)
    random = np.random.default_rng(0)
    runs = []
    for row, (n, d, flops) in enumerate(zip(N.tolist(), D.tolist(), C.tolist(), strict=True)):
        middle = float(_loss(fit.law, n, d, flops)) * math.exp(shift[row])
        draws = np.asarray(_loss(fit.resamples, n, d, flops)) * math.exp(shift[row])
        noise = spread[row] * random.standard_normal(len(draws))
        loss = estimate(middle, draws * np.exp(noise), fit.level)
        if not 0 < middle < math.inf:
            raise DataError(
                f"predict: this law has no loss for {format_count(n)} params on {format_count(d)} "
                f"tokens; stay within reach of the runs."
            )
        loss = replace(loss, low=max(loss.low, 0.0))
        notes = (*fit.notes, *_notes(fit, flops, d / n, float(outside[row])))
        runs.append(
            RunLoss(
                num_params=n,
                num_tokens=d,
                flops=flops,
                loss=loss,
                level=fit.level,
                extrapolation=decades_outside(fit, flops),
                notes=notes,
            )
        )
    return runs


def _loss(law: Law, N: Number, D: Number, C: Number) -> Array:
    """Loss of a run in a law, from its optimum and the rise around it where that is all it has."""
    if isinstance(law, Surface):
        return np.asarray(law.loss(N, D))
    lowest, above = law.optimal_loss(C), law.excess(N, C)
    if lowest is None or above is None:
        raise DataError(
            "predict: this approach has no law for the loss of a run; fit with the default, "
            "Kriging() or Parametric()."
        )
    return np.asarray(lowest + above)


def _residuals(fit: Fit, N: Array, D: Array) -> tuple[Array, Array, Array]:
    """Mean log residual of the runs alike, its root mean square, and u outside of the runs'.

    Laws err in the same direction at the same distance from the optimum, on its side of too few
    tokens or of too many: with it, seven runs of up to 25B params that were held out are predicted
    to .1 % at the median instead of .2 %, and all lie in their intervals instead of five.
    """
    seen_N = np.array([run.num_params for run in fit.runs])
    seen_D = np.array([run.num_tokens for run in fit.runs])
    losses = np.array([run.loss for run in fit.runs])
    flops = np.array([run.flops for run in fit.runs])
    laws = (
        losses_of(fit.law, Points.of(fit.runs))
        if isinstance(fit.law, Surface)
        else _loss(fit.law, seen_N, seen_D, flops)
    )
    with np.errstate(all="ignore"):
        residual = np.log(losses / laws)
    residual = np.where(np.isfinite(residual), residual, 0.0)
    u, c = _from_optimum(fit.law, seen_N, seen_D), np.log(seen_N * seen_D)
    at_u, at_c = _from_optimum(fit.law, N, D), np.log(N * D)
    outside = np.maximum(np.maximum(u.min() - at_u, at_u - u.max()), 0.0)
    reached = np.clip(at_u, u.min(), u.max())[:, None], np.clip(at_c, c.min(), c.max())[:, None]
    weights = np.exp(-(((u - reached[0]) / ALIKE) ** 2) / 2 - np.abs(c - reached[1]) / AS_LARGE)
    number = weights.sum(axis=1) ** 2 / np.maximum((weights**2).sum(axis=1), 1e-300)
    share = number / (number + PRIOR_RUNS)
    mean = (weights @ residual) / np.maximum(weights.sum(axis=1), 1e-300)
    square = (weights @ residual**2) / np.maximum(weights.sum(axis=1), 1e-300)
    near = residual[np.abs(u) < NEAR] if np.any(np.abs(u) < NEAR) else residual
    usual = float(np.median(near**2)) / 0.455  # the mean square of Gaussian residuals
    spread = np.sqrt(share * square + (1 - share) * usual) * (1 + outside / ALIKE)
    return share * mean, spread, outside


def _from_optimum(law: Law, N: Array, D: Array) -> Array:
    """u: log of N over the best N on as much N D."""
    best = np.asarray(law.optimum(6 * N * D)[0], dtype=float)
    with np.errstate(all="ignore"):
        u = np.log(N / best)
    return np.where(np.isfinite(u), u, 0.0)


def _notes(fit: Fit, flops: float, ratio: float, outside: float) -> tuple[Note, ...]:
    notes = [*below_notes(fit, flops, "run")]
    if flops > FAR * fit.largest:
        text = (
            f"The run is {format_number(flops / fit.largest, 2)} times the largest one "
            f"({format_flops(fit.largest)} FLOPs); beyond {FAR:.0f} times, published laws have "
            f"often failed."
        )
        notes.append(Note("far-target", text))
    measured = [run.num_tokens / run.num_params for run in fit.runs]
    if outside > 0 and not min(measured) / OUTSIDE <= ratio <= max(measured) * OUTSIDE:
        among = format_interval(min(measured), max(measured), lambda value: format_number(value, 2))
        text = (
            f"The run trains {format_number(ratio, 2)} tokens per param, the others {among}: how "
            f"the loss goes on outside of that is the law's form alone."
        )
        notes.append(Note("ratio-outside-runs", text))
    return tuple(notes)
