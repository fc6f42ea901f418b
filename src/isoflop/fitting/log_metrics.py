"""fit_log_metric(): a metric as a direct law of compute, without the loss in between."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from isoflop import arguments
from isoflop.display.format import format_bullets, format_number, quoted
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import Fit
from isoflop.fitting.screening.screen import screen
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["LogMetricFit", "fit_log_metric"]

FEWEST = 6
"""Fewest runs: three numbers are fitted, and residuals must be left."""
MOST_STEPS, CONVERGED = 50, 1e-10
ONE_RATIO = 1.1
"""Factor up to which all tokens per param are the same, so that they explain nothing."""


@dataclass(frozen=True, kw_only=True)
class LogMetricFit:
    """A metric Q as -log((Q - worst) / (best - worst)) = exp(a) C^-alpha (D/N)^gamma.

    coefficients: a, -alpha and, where runs differ in tokens per param, gamma.
    covariance: of the coefficients, per unit of the residual's variance, shape (k, k).
    residual: standard deviation of the runs' metrics around the law, in the metric's unit.
    """

    name: str
    worst: float
    best: float
    coefficients: tuple[float, ...]
    covariance: Array
    residual: float
    runs: tuple[Run, ...]
    level: float
    notes: tuple[Note, ...]

    def predict(
        self, *, num_params: float, num_tokens: float, flops: float | None = None
    ) -> Estimate:
        """The metric of a run, with the interval of a new run; FLOPs default to 6 N D."""
        N, D = (
            float(arguments.positive(value, f"predict: {name}"))
            for name, value in (("num_params", num_params), ("num_tokens", num_tokens))
        )
        C = 6 * N * D if flops is None else float(arguments.positive(flops, "predict: flops"))
        row = _row(C, D / N, len(self.coefficients))
        share = float(_share(row @ self.coefficients))
        scale = self.best - self.worst
        slope = scale * share * math.log(share)
        spread = math.sqrt(1 + slope**2 * float(row @ self.covariance @ row))
        free = len(self.runs) - len(self.coefficients)
        reach = float(stats.t.ppf((1 + self.level) / 2, free)) * self.residual * spread
        value, ends = self.worst + scale * share, sorted((self.worst, self.best))
        return Estimate(value, max(value - reach, ends[0]), min(value + reach, ends[1]))

    def __str__(self) -> str:
        _, power, *ratio = self.coefficients
        shift = f" (D/N)^{format_number(ratio[0], 3)}" if ratio else " at one ratio D/N"
        text = (
            f"-log {self.name} ~ C^{format_number(power, 3)}{shift}, of {len(self.runs)} runs, "
            f"residual {format_number(self.residual, 2)}"
        )
        return "\n".join(filter(None, (text, format_bullets(self.notes))))


def fit_log_metric(
    source: Fit | Iterable[Run],
    name: str,
    *,
    worst: float = 0.0,
    best: float = 1.0,
    level: float | None = None,
) -> LogMetricFit:
    """A metric of the runs as a power law of compute: log accuracy, without the loss in between.

    At a fixed number of tokens per param the logarithm of a metric is a power law of compute
    (2512.08894); runs of several ratios add a power of D/N. Beside `fit_metric`, which goes by way
    of the loss, it shows how much the choice of the law matters.

    source: runs, or a fit, whose runs and level are then used.
    name: key of `Run.metrics`.
    worst, best: limits of the metric for a bad and for a perfect model, such as chance and 1.
    level: coverage of intervals; None for the level of the fit, or 0.9.

    Raises DataError if fewer than six runs have a metric between the limits.
    """
    name = arguments.word(name, "fit_log_metric: name")
    ends = [
        float(
            arguments.number(end, f"fit_log_metric: {which}", must="a number", holds=math.isfinite)
        )
        for end, which in ((worst, "worst"), (best, "best"))
    ]
    if ends[0] == ends[1]:
        raise DataError(f"fit_log_metric: worst and best must differ, but both are {ends[0]:g}.")
    of_source = source.level if isinstance(source, Fit) else 0.9
    level = of_source if level is None else arguments.share(level, "fit_log_metric: level")
    given = source.runs if isinstance(source, Fit) else screen(source).points.runs
    known = [run for run in given if math.isfinite(run.metrics.get(name, math.nan))]
    shares = {run.id: (run.metrics[name] - ends[0]) / (ends[1] - ends[0]) for run in known}
    runs = tuple(run for run in known if 0 < shares[run.id] < 1)
    if len(runs) < FEWEST:
        raise DataError(
            f"fit_log_metric needs at least {FEWEST} runs with {quoted(name)} between "
            f"{ends[0]:g} and {ends[1]:g}, but got {len(runs)}; name its column in columns=, or "
            "give worst= and best=."
        )
    points = Points.of(runs)
    ratio = points.D / points.N
    columns = 2 if ratio.max() / ratio.min() < ONE_RATIO else 3
    design = np.stack([_row(C, r, columns) for C, r in zip(points.C, ratio, strict=True)])
    measured = np.array([shares[run.id] for run in runs])
    coefficients, covariance, off = _solved(design, measured)
    return LogMetricFit(
        name=name,
        worst=ends[0],
        best=ends[1],
        coefficients=tuple(coefficients.tolist()),
        covariance=covariance / (ends[1] - ends[0]) ** 2,
        residual=abs(ends[1] - ends[0]) * math.sqrt(float(off @ off) / (len(runs) - columns)),
        runs=runs,
        level=level,
        notes=tuple(_notes(name, len(given) - len(known), len(known) - len(runs))),
    )


def _solved(design: Array, shares: Array) -> tuple[Array, Array, Array]:
    """Coefficients by least squares of the shares, their covariance, and the residuals.

    Gauss-Newton from the straight line of log(-log q), which would weigh bad models too much.
    """
    coefficients = np.linalg.lstsq(design, np.log(-np.log(shares)), rcond=None)[0]
    for _ in range(MOST_STEPS):
        share = _share(design @ coefficients)
        slope = (share * np.log(share))[:, None] * design
        step = np.linalg.lstsq(slope, shares - share, rcond=None)[0]
        coefficients = coefficients + step
        if np.abs(step).max() < CONVERGED:
            break
    share = _share(design @ coefficients)
    slope = (share * np.log(share))[:, None] * design
    covariance: Array = np.asarray(np.linalg.pinv(slope.T @ slope), dtype=np.float64)
    return np.asarray(coefficients, dtype=np.float64), covariance, shares - share


def _share(double_log: Array) -> Array:
    """The share q of log(-log q), kept off 0 and 1."""
    share: Array = np.exp(-np.exp(np.clip(double_log, -30.0, 3.0)))
    return np.clip(share, 1e-9, 1 - 1e-12)


def _row(flops: float, ratio: float, columns: int) -> Array:
    return np.array([1.0, math.log(flops), math.log(ratio)][:columns], dtype=np.float64)


def _notes(name: str, without: int, outside: int) -> Iterator[Note]:
    if without:
        yield Note("runs-without-metric", f"{without} runs without {name} were left out.")
    if outside:
        text = f"{outside} runs whose {name} is not between its limits were left out."
        yield Note("metric-outside-limits", text)
