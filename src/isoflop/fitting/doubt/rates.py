"""RatesChecked: what the check of the learning rates shows, and what it does to a law.

Where the planned rates are wrong and the loss that they cost is known well enough, the losses of
the runs are corrected for it. What remains unknown of it widens the interval of the answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from isoflop.display.format import (
    format_count,
    format_flops,
    format_percent,
    format_replacement,
)
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.checked_rates import RateFinding, constants_of, find_rates, reach_of
from isoflop.fitting.rate_offsets import Offsets
from isoflop.fitting.screening.seeds import seed_noise
from isoflop.laws.base import Array, CostPerToken, Law
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec

__all__ = ["CheckedPoints", "RatesChecked", "checked_points", "rates_checked"]

SAME_RULE = math.log(1.25)
"""Log by which a check's planned rate may differ from a power law of params and tokens through the
rates of the runs, beside what these differ by: a user's own rule may have steps or limits."""

LostAt = Callable[[float], float]
"""Params -> share of the log loss that the planned rate costs there."""


@dataclass(frozen=True, eq=False)
class CheckedPoints:
    """Points, corrected for wrong rates where that is known well enough, and as they were."""

    points: Points
    measured: Points
    finding: RateFinding | None

    @property
    def is_corrected(self) -> bool:
        return self.points is not self.measured


@dataclass(frozen=True, eq=False)
class RatesChecked:
    """What a check shows, and the laws that other losses at the right rates would give.

    law: that of the fit. others: those of losses corrected for more, less or no cost of the rates.
    cost: share of the loss that the rates cost at the reach of the finding.
    """

    finding: RateFinding
    law: Law
    others: tuple[Law, ...]
    is_corrected: bool
    cost: float

    @property
    def found(self) -> tuple[Note, ...]:
        """The finding, where `note` is about its effect."""
        return (self.finding.note,) if self.others else ()

    def spread(self, flops: float, cost: CostPerToken | None) -> float:
        """Standard deviation of the log of the best params that the rates add."""
        own, *others = (float(law.optimum(flops, cost)[0]) for law in (self.law, *self.others))
        if not 0 < own < math.inf:
            return 0.0
        return max((abs(math.log(N / own)) for N in others if 0 < N < math.inf), default=0.0)

    def note(self, flops: float) -> Note:
        """What the rates do to the answer at `flops`."""
        if not self.others:
            return self.finding.note
        now, then = (float(law.optimum(flops)[0]) for law in (self.law, self.others[-1]))
        answer = f"the best size at {format_flops(flops)} FLOPs would be "
        answer += format_replacement(then, now)
        share, size = format_percent(self.cost), format_count(self.finding.reach)
        if self.is_corrected:
            text = (
                f"The losses are corrected for their learning rates, by {share} at {size} params; "
                f"as they were measured, {answer}."
            )
            return Note("rates-corrected", text)
        text = (
            f"The learning rates may cost about {share} of the loss at {size} params, which widens "
            f"the interval: corrected for it, {answer}."
        )
        return Note("rates-widened", text)


def checked_points(points: Points, checks: Sequence[Run]) -> CheckedPoints:
    """The points of a fit with what the checks of their task show."""
    own = _of_rule(points, checks)
    reach = reach_of(run.spec for run in points.runs)
    finding = find_rates(own, reach, seed_noise(points.runs)) if own else None
    if finding is None or finding.offsets is None or finding.verdict != "wrong":
        return CheckedPoints(points, points, finding)
    lost, deviation = finding.offsets.lost(finding.reach)
    if deviation > lost:
        return CheckedPoints(points, points, finding)
    return CheckedPoints(_corrected(points, finding.offsets.mean_lost), points, finding)


def _of_rule(points: Points, checks: Sequence[Run]) -> list[Run]:
    """The checks of the points' task and of their rule, since a store may hold those of others."""
    tasks = {run.spec.fingerprint for run in points.runs}
    given = [run.spec for run in points.runs if run.spec.lr]
    recipes = {constants_of(run.spec) for run in points.runs}
    own = [
        run for run in checks if run.spec.fingerprint in tasks and constants_of(run.spec) in recipes
    ]
    if not given or not own:
        return []
    log_lr = np.log([spec.lr or math.nan for spec in given])
    rule = np.linalg.lstsq(_logs(given), log_lr, rcond=None)[0]
    most = SAME_RULE + float(np.median(np.abs(_logs(given) @ rule - log_lr)))
    planned = np.log([run.spec.checked_lr or math.nan for run in own])
    away = np.abs(_logs([run.spec for run in own]) @ rule - planned)
    return [run for run, off in zip(own, away, strict=True) if off < most]


def _logs(specs: Sequence[RunSpec]) -> Array:
    rows = [(1.0, math.log(spec.num_params), math.log(spec.num_tokens)) for spec in specs]
    return np.array(rows)


def rates_checked(checked: CheckedPoints, law: Law, approach: Approach) -> RatesChecked | None:
    """What a check does to the law of the points; None without a check."""
    finding = checked.finding
    if finding is None:
        return None
    offsets = finding.offsets
    if offsets is None or finding.verdict == "holds":
        return RatesChecked(finding, law, (), False, 0.0)
    variants = _variants(offsets, checked)
    others = [solved for points in variants if (solved := _law(points, approach)) is not None]
    cost = offsets.lost(finding.reach)[0]
    return RatesChecked(finding, law, tuple(others), checked.is_corrected, cost)


def _variants(offsets: Offsets, checked: CheckedPoints) -> list[Points]:
    """The points as other costs of the rates would have them, the simplest last."""
    measured = checked.measured
    if not checked.is_corrected:
        return [_corrected(measured, offsets.mean_lost)]
    less, more = (partial(offsets.shifted_lost, deviations=k) for k in (-1.0, 1.0))
    return [_corrected(measured, less), _corrected(measured, more), measured]


def _law(points: Points, approach: Approach) -> Law | None:
    try:
        return approach.solve(points).law
    except DataError:
        return None


def _corrected(points: Points, lost: LostAt) -> Points:
    """The points with the losses that they would have at the best rates."""
    by_size = {N: math.exp(-lost(N)) for N in set(points.N.tolist())}
    return Points.of(
        [
            replace(run, loss=run.loss * by_size[run.num_params]) if run.spec.lr else run
            for run in points.runs
        ]
    )
