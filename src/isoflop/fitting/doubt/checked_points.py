"""checked_points(): the points of a fit, with what the checks of their task show.

Where planned rates are wrong and the loss that they cost is known well enough, the losses are
corrected for it. They are not corrected for batches: a large one may be meant, to save time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from isoflop.fitting.checked_batches import BatchFinding, find_batches
from isoflop.fitting.checked_rates import RateFinding, constants_of, costliest, find_rates, reach_of
from isoflop.fitting.screening.seeds import seed_noise
from isoflop.fitting.setting_offsets import Offsets
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.runs import Run, RunSpec

__all__ = ["CheckedPoints", "checked_points", "corrected"]

SAME_RULE = math.log(1.25)
"""Log by which a check's planned rate may differ from a power law of params and tokens through the
rates of the runs, beside what these differ by: a user's own rule may have steps or limits."""

LostAt = Callable[[RunSpec], float]
"""Spec -> log loss that one of its settings costs."""


@dataclass(frozen=True, eq=False)
class CheckedPoints:
    """Points, corrected for wrong rates where that is known well enough, and as they were.

    offsets: how far the rates of the runs that cost most are from the best ones, if that is known.
    """

    points: Points
    measured: Points
    rates: RateFinding | None
    batches: BatchFinding | None
    offsets: Offsets | None = None

    @property
    def is_corrected(self) -> bool:
        return self.points is not self.measured


def checked_points(points: Points, checks: Sequence[Run]) -> CheckedPoints:
    """The points of a fit with what the checks of their task show."""
    own = _of_rule(points, checks)
    if not own:
        return CheckedPoints(points, points, None, None)
    specs, noise = [run.spec for run in points.runs], seed_noise(points.runs)
    rates, batches = find_rates(own, reach_of(specs), noise), find_batches(own, specs, noise)
    if rates is None:
        return CheckedPoints(points, points, None, batches)
    offsets = rates.offsets_on(float(np.median([spec.num_tokens for spec in costliest(specs)])))
    best = _with_best_rates(points, rates, offsets)
    return CheckedPoints(best, points, rates, batches, offsets)


def _with_best_rates(points: Points, finding: RateFinding, offsets: Offsets | None) -> Points:
    """The points, corrected where their rates are wrong by a known amount."""
    if offsets is None or finding.verdict != "wrong":
        return points
    lost, deviation = offsets.lost(finding.reach)
    if deviation > lost:
        return points
    return corrected(points, lambda spec: offsets.mean_lost(spec.num_params))


def corrected(points: Points, lost: LostAt) -> Points:
    """The points with the losses that they would have at the best value of a setting."""
    return Points.of(
        [
            replace(run, loss=run.loss * math.exp(-lost(run.spec))) if run.spec.lr else run
            for run in points.runs
        ]
    )


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
