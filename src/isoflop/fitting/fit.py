"""fit(): a law of some runs by an approach, with its runs, intervals and reasons to doubt it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import cast, get_args

import numpy as np

from isoflop import arguments
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_count,
    format_flops,
    format_html,
    format_interval,
    format_number,
    format_percent,
    quoted,
)
from isoflop.display.table import Table
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach, Diagnostics, Region
from isoflop.fitting.approaches.isoflop import valleys_of
from isoflop.fitting.approaches.parametric import single_law
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.bayesian.prior import Prior
from isoflop.fitting.default import screened, solve_points
from isoflop.fitting.doubt.batches import BatchesChecked, batches_checked
from isoflop.fitting.doubt.checked_points import checked_points
from isoflop.fitting.doubt.checks import reasons_to_doubt
from isoflop.fitting.doubt.influence import Influence, find_influence
from isoflop.fitting.doubt.rates import RatesChecked, rates_checked
from isoflop.fitting.doubt.set_aside import Restored, find_restored
from isoflop.fitting.from_name import approach_from, require_draws
from isoflop.fitting.holdout import Holdout, held_out
from isoflop.fitting.law_table import law_table
from isoflop.fitting.screening.screen import Keep, SetAside
from isoflop.fitting.screening.seeds import seed_noise
from isoflop.fitting.threads import one_blas_thread
from isoflop.fitting.uncertainty import Intervals, resampled_law
from isoflop.laws.base import Law, Number, PowerLaw
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run, parted_runs
from isoflop.tabular import Tabular

__all__ = ["Fit", "SetAside", "fit"]

HOLDOUT_BUDGETS = 4
"""Fewest budgets of which the largest can be held out for a check."""


@dataclass(frozen=True, kw_only=True)
class Fit(Tabular):
    """A law with its runs, its intervals and reasons to doubt it."""

    approach: Approach
    """The approach as it was called, e.g. Parametric(delta=0.001)."""
    law: Law
    runs: tuple[Run, ...]
    """Runs that were used."""
    set_aside: tuple[SetAside, ...]
    resamples: Law
    """The same law with arrays for numbers: one entry per resample."""
    level: float
    objective: float
    """Value of the minimised objective."""
    notes: tuple[Note, ...]
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    """How the solver ended."""
    influence: Influence | None = None
    """Runs that the law does not explain, and the law without them."""
    restored: Restored | None = None
    """Runs set aside for how they were trained, and the law with them."""
    rates: RatesChecked | None = None
    """What the check of the learning rates shows; None for runs without one."""
    batches: BatchesChecked | None = None
    """What the check of the batches shows; None for runs without one."""
    holdout: Holdout | None = None
    """Errors at the largest budget, predicted from the others; None with fewer than 4 budgets."""
    region: Region | None = None
    """The laws that the runs do not rule out; None except for profile intervals."""

    @property
    def smallest(self) -> float:
        """FLOPs of the smallest run."""
        return min(run.flops for run in self.runs)

    @property
    def largest(self) -> float:
        """FLOPs of the largest run."""
        return max(run.flops for run in self.runs)

    def __str__(self) -> str:
        parts = (
            align_columns(_rows(self)),
            align_columns(_valley_rows(self.runs)),
            format_bullets(self.notes),
        )
        return "\n".join(part for part in parts if part)

    def table(self) -> Table:
        """The law's numbers with their intervals."""
        return law_table(self.law.numbers(), self.resamples.numbers(), self.level)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return format_html(
            f"Fit of {_runs_line(self)}", [_rows(self), _valley_rows(self.runs)], self.notes
        )


@one_blas_thread
@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def fit(
    runs: Iterable[Run],
    approach: Approach | str | None = None,
    *,
    prior: Prior | None = None,
    resamples: int = 1000,
    level: float = 0.9,
    seed: int = 0,
    intervals: Intervals = "auto",
    keep: Keep = "sound",
) -> Fit:
    """The law of some runs, with intervals and reasons to doubt it.

    approach: how runs become a law: Bayesian() by default, or Kriging(), Parametric(), IsoFLOP(),
        Envelope(); a name such as "kriging" is the approach with its own defaults.
    prior: prior of the default approach, Prior(slope=(0.5, 0.05)) or Prior.flat(); None for the one
        learned from public sweeps.
    resamples: number of laws drawn for the intervals.
    level: nominal coverage of every interval.
    seed: of the resamples; the same seed gives the same intervals.
    intervals: "auto" is the approach's own draws, or else a bootstrap by configuration;
        "bootstrap", "delta" (covariance of the fitted numbers) or "profile" (likelihood ratio)
        choose one, for Parametric(). Those three take the law for true and cover too little where
        it is not.
    keep: "sound" sets completed runs aside that look badly trained (cut short, at a learning rate
        that another one beat, with an unusual curve), and notes what they would change; "all" uses
        them.

    Raises DataError if the runs cannot answer: too few, one budget, impossible values.

    >>> from isoflop import ChinchillaLaw, Run, RunSpec, predict
    >>> law = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    >>> runs = []
    >>> for C in (1e18, 3e18, 1e19, 3e19):
    ...     for N in law.optimum(C)[0] * np.geomspace(1 / 4, 4, 7):
    ...         D = C / (6 * N)
    ...         spec = RunSpec(num_params=N, num_tokens=D, flops=C, budget=C)
    ...         loss = law.loss(N, D)
    ...         run = Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=C)
    ...         runs.append(run)
    >>> answer = predict(fit(runs, "parametric"), flops=3e20)
    >>> f"{answer.num_params.value:.3g} params; in truth {law.optimum(3e20)[0]:.3g}"
    '1.58e+09 params; in truth 1.58e+09'
    """
    named = approach_from(approach, "fit")
    resamples, level, seed = require_draws("fit", resamples, level, seed)
    intervals = cast(Intervals, arguments.one_of(intervals, "fit: intervals", get_args(Intervals)))
    given, checks = parted_runs(runs, "fit")
    usable = screened(given, named, keep)
    checked = checked_points(usable.points, checks)
    points = checked.points
    chosen, solved, fallback = solve_points(points, _with_prior(named, prior))
    largest = float(points.C.max())
    one_law = single_law(points, solved)
    influence = find_influence(points, solved, chosen, one_law, flops=largest)
    restored = find_restored(usable.set_aside, points, solved, chosen)
    rates = rates_checked(checked, solved.law, chosen)
    batches = batches_checked(checked, solved.law, chosen)
    found = (influence, restored, rates, batches)
    refits = tuple(part.note(largest) for part in found if part is not None)
    drawn = resampled_law(solved, points, resamples, seed, intervals)
    tested = _holdout(points, chosen)
    return Fit(
        approach=chosen,
        law=solved.law,
        runs=points.runs,
        set_aside=usable.set_aside,
        resamples=drawn,
        level=level,
        objective=solved.objective,
        notes=(
            *fallback,
            *(note for part in (rates, batches) if part is not None for note in part.found),
            *refits,
            *usable.notes,
            *(() if tested is None else tested.notes),
            *reasons_to_doubt(points, solved, drawn, one_law),
        ),
        diagnostics=solved.diagnostics,
        influence=influence,
        restored=restored,
        rates=rates,
        batches=batches,
        holdout=tested,
        region=solved.region if intervals == "profile" else None,
    )


def _with_prior(approach: Approach | None, prior: Prior | None) -> Approach | None:
    if prior is None:
        return approach
    if not isinstance(prior, Prior):
        raise DataError(
            f"fit: prior must be a Prior, such as Prior(slope=(0.5, 0.05)), but got "
            f"{quoted(prior)}."
        )
    if approach is not None:
        raise DataError(
            f"fit: prior= is for the default approach, but got {quoted(approach)} too; leave one "
            f"of them out."
        )
    return Bayesian(prior)


def _holdout(points: Points, approach: Approach) -> Holdout | None:
    if len(points.budgets) < HOLDOUT_BUDGETS:
        return None
    try:
        return held_out(points, approach)
    except DataError:  # the smaller budgets alone cannot determine the law
        return None


def _rows(fit: Fit) -> list[tuple[str, str]]:
    rows = [("approach", repr(fit.approach)), *_law_rows(fit.law), ("runs", _runs_line(fit))]
    noise = seed_noise(fit.runs)
    if noise is not None:
        rows.append(("noise", f"{format_percent(noise)} of the loss from seed to seed"))
    return rows if fit.holdout is None else [*rows, ("held out", str(fit.holdout))]


def _law_rows(law: Law) -> list[tuple[str, str]]:
    values = {part.name: getattr(law, part.name) for part in fields(law)}
    return [(name, _law_text(value)) for name, value in values.items() if value is not None]


def _law_text(value: Number | PowerLaw) -> str:
    if isinstance(value, PowerLaw):
        return value.formula()
    return format_number(float(value), 4) if np.ndim(value) == 0 else str(value)


def _valley_rows(runs: tuple[Run, ...]) -> list[tuple[str, ...]]:
    """The minimum of each budget, where the runs have budgets."""
    rows = [
        (
            format_flops(valley.budget),
            str(len(valley.runs)),
            format_interval(valley.runs[0].num_params, valley.runs[-1].num_params),
            *(
                (format_count(valley.num_params), format_count(valley.num_tokens))
                if valley.interior
                else ("", "")
            ),
            format_number(
                valley.loss if valley.interior else min(run.loss for run in valley.runs), 4
            ),
            "interior" if valley.interior else "not bracketed",
        )
        for valley in valleys_of(Points.of(runs))
    ]
    heading = ("budget", "runs", "params", "best params", "best tokens", "lowest loss", "minimum")
    return [heading, *rows] if rows else []


def _runs_line(fit: Fit) -> str:
    aside = f", {len(fit.set_aside)} set aside" if fit.set_aside else ""
    return f"{len(fit.runs)}{aside}, up to {format_flops(fit.largest)} FLOPs"
