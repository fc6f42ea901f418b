"""The runs that a fit may use, without those set aside and copies; impossible runs raise errors."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from isoflop import arguments
from isoflop.display.format import LONG, format_count, format_flops, join_words, one_line
from isoflop.errors import DataError
from isoflop.fitting.screening.contradictions import contradicting
from isoflop.fitting.screening.diverged import far_off
from isoflop.fitting.screening.seeds import are_seeds
from isoflop.fitting.screening.selection import Needs, select
from isoflop.fitting.screening.validity import invalid
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run, runs_of, tasks_of, tasks_text

__all__ = ["Keep", "Screened", "SetAside", "describe", "screen"]

Keep = Literal["sound", "all"]

PLAIN = Needs()
SAME_LOSS = 1e-9
"""Relative difference of losses below which they are one number."""
SAME_BUDGET = 1.5
"""Factor of FLOPs within which runs do not show how the optimum moves with compute."""

LARGEST = 1e40
"""Largest number of a run, beyond all measurements in any unit; products of such are finite."""
RISING = 0.5
"""Rank correlation of loss and FLOPs above which a column is no loss; a sweep's is far below 0."""


@dataclass(frozen=True)
class SetAside:
    """A run that the fit did not use, and the reason."""

    run: Run
    reason: str
    contradicts: bool = False
    """True if its own numbers contradict each other."""

    @property
    def is_usable(self) -> bool:
        """True if the run has a loss and consistent numbers, so that a law can be fitted to it."""
        return not self.contradicts and not _reason(self.run)


@dataclass(frozen=True, eq=False)
class Screened:
    """Runs that a fit may use, as points, and notes about the others."""

    points: Points
    set_aside: tuple[SetAside, ...]
    selection: tuple[Note, ...]
    """Notes about the runs that are not among the points."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes about runs that are not among the points, and about points that share noise."""
        return (*self.selection, *_shared_notes(self.points))


def screen(runs: Iterable[Run], keep: Keep = "sound", needs: Needs = PLAIN) -> Screened:
    """Sort runs into usable ones and those set aside.

    keep: "sound" sets completed runs aside that look badly trained, and takes the finished row of
        each run and the best of each sweep of settings; "all" does not.
    needs: what the approach can read besides that.

    Raises DataError if a value is impossible, losses rise with compute, the runs are of several
    tasks, or all of them have one budget.
    """
    keep = cast(Keep, arguments.one_of(keep, "fit: keep", get_args(Keep)))
    given = runs_of(runs, "fit")
    if not given:
        raise DataError("fit needs at least 6 runs, but got none.")
    _refuse_several_tasks(given)
    doubted = invalid(given) if keep == "sound" else {}
    reasons = [_reason(run) or (doubted.get(run.id, "") if doubted else "") for run in given]
    usable = [run for run, reason in zip(given, reasons, strict=True) if not reason]
    points = Points.of(usable)
    for row in np.flatnonzero(_is_odd(points)).tolist():
        _refuse_impossible(points.runs[row])
        _refuse_parts(points.runs[row])
    aside = [SetAside(run, reason) for run, reason in zip(given, reasons, strict=True) if reason]
    selected: tuple[Note, ...] = ()
    if keep == "sound":
        points, contrary = _parted(points, contradicting(points), contradicts=True)
        chosen = select(points.runs, needs)
        points, selected = points if chosen.notes == () else Points.of(chosen.runs), chosen.notes
        points, lost = _parted(points, _far_off(points))
        aside += [*contrary, *lost]
    num_kept, points = len(points), _without_copies(points)
    _refuse_one_budget(points)
    _refuse_rising(points)
    place = {id(run): number for number, run in enumerate(given)}
    aside.sort(key=lambda item: place.get(id(item.run), len(given)))
    notes = (*_aside_notes(aside), *selected, *_copy_notes(num_kept - len(points)))
    return Screened(points, tuple(aside), notes)


def _parted(
    points: Points, reasons: Mapping[int, str], *, contradicts: bool = False
) -> tuple[Points, list[SetAside]]:
    """The points without the rows that have a reason, and those rows."""
    if not reasons:
        return points, []
    rest = [run for row, run in enumerate(points.runs) if row not in reasons]
    aside = [SetAside(points.runs[row], reason, contradicts) for row, reason in reasons.items()]
    return Points.of(rest), aside


def _far_off(points: Points) -> Mapping[int, str]:
    side = far_off(points)
    return {row: _FAR_OFF[int(side[row])] for row in np.flatnonzero(side).tolist()}


_FAR_OFF = {
    1: "its loss is far above that of runs like it, as after a divergence",
    -1: "its loss is far below that of runs like it, as of another measure",
}


def describe(run: Run) -> str:
    """A run as text: 1.20B params on 24.0B tokens."""
    size = f" (size {one_line(run.size, 40)})" if run.size is not None else ""
    return f"{format_count(run.num_params)} params on {format_count(run.num_tokens)} tokens{size}"


def _refuse_several_tasks(runs: Sequence[Run]) -> None:
    tasks = tasks_of(runs)
    if len(tasks) > 1:
        raise DataError(
            f"fit needs runs of one task, as no law holds for several, but got "
            f"{tasks_text(tasks)}; take those of one with read_runs(store, "
            f"fingerprint=isoflop.fingerprint(task)), or with --task on the command line."
        )


def _reason(run: Run) -> str:
    """The reason why a run cannot be used; empty if it can."""
    if run.status != "completed":
        return f"{run.status}: {one_line(run.error, LONG)}" if run.error else run.status
    return "" if math.isfinite(run.loss) else "its loss is not finite"


def _is_odd(points: Points) -> NDArray[np.bool_]:
    """True for runs with a number outside the usual range, which may be impossible."""
    counts, losses = np.stack([points.N, points.D, points.C]), points.L
    usual = (
        (counts >= 1).all(axis=0) & (counts < 1e35).all(axis=0) & (losses > 1e-9) & (losses < 1e9)
    )
    return np.asarray(~usual)


def _refuse_impossible(run: Run) -> None:
    for name, value in (
        ("loss", run.loss),
        ("params", run.num_params),
        ("tokens", run.num_tokens),
        ("FLOPs", run.flops),
    ):
        if not (value > 0 and math.isfinite(value)):
            must = "above 0 and finite"
        elif not 1 / LARGEST <= value <= LARGEST:
            must = f"between {1 / LARGEST:g} and {LARGEST:g}"
        else:
            continue
        raise DataError(
            f"A run's {name} must be {must}, but the run with {describe(run)} has "
            f"{float(value):g}; correct it or leave the run out."
        )


def _refuse_parts(run: Run) -> None:
    for name, value in (
        ("params", run.num_params),
        ("tokens", run.num_tokens),
        ("FLOPs", run.flops),
    ):
        if value < 1:
            raise DataError(
                f"A run's {name} must be 1 or more, but the run with {describe(run)} has "
                f"{value:.3g}; give plain counts, not millions or billions."
            )


def _refuse_one_budget(points: Points) -> None:
    if not len(points):
        raise DataError(
            "fit needs at least 6 runs, but none of those given completed with a finite loss."
        )
    low, high = float(points.C.min()), float(points.C.max())
    has_one = len(points.budgets) == 1 and bool(np.isfinite(points.budget).all())
    if has_one or high < SAME_BUDGET * low:
        have = "the only run has" if len(points) == 1 else f"all {len(points)} runs have"
        raise DataError(
            f"fit needs runs at 2 or more budgets to show how the optimum moves with compute, but "
            f"{have} one budget ({format_flops(high)} FLOPs); add runs at 3 times as many FLOPs or "
            f"more."
        )


def _refuse_rising(points: Points) -> None:
    """Raise DataError for a measure that is higher for better models, such as an accuracy."""
    if len(points) > 1 and np.ptp(points.L) < SAME_LOSS * float(points.L.max()):
        raise DataError(
            f"fit needs losses that differ, but those of all {len(points)} runs are "
            f"{float(points.L[0]):.4g}; give the column of the loss."
        )
    flops, losses = _ranks(points.C), _ranks(points.L)
    spread = float(np.sqrt((flops**2).sum() * (losses**2).sum()))
    rank = float((flops * losses).sum()) / spread if spread else 0.0
    if rank > RISING:
        raise DataError(
            f"fit needs a loss, which falls with compute, but that of these {len(points)} runs "
            f"rises (rank correlation {rank:.2f}); give the column of the loss, or of an accuracy "
            f"1 minus its value; losses in several units must be put in one."
        )


def _ranks(values: Array) -> NDArray[np.float64]:
    """Ranks of values, equal ones alike, about their mean."""
    ranks: NDArray[np.float64] = np.unique(values, return_inverse=True)[1].astype(float)
    return np.asarray(ranks - ranks.mean())


def _without_copies(points: Points) -> Points:
    """The points without those that repeat an earlier one in every number."""
    epochs = np.fromiter(
        (run.spec.epochs or 0.0 for run in points.runs), dtype=np.float64, count=len(points)
    )
    budget = np.nan_to_num(points.budget)
    columns = (points.N, points.D, epochs, points.C, budget, points.L)
    order = np.lexsort(columns)  # equal rows stay in their order
    is_copy = np.zeros(len(points), dtype=bool)
    is_copy[order[1:]] = np.all(
        [values[order[1:]] == values[order[:-1]] for values in columns], axis=0
    )
    return points.pick(~is_copy) if is_copy.any() else points


def _aside_notes(aside: Sequence[SetAside]) -> Iterator[Note]:
    by_reason: dict[str, list[Run]] = {}
    for item in aside:
        by_reason.setdefault(item.reason, []).append(item.run)
    for reason, group in by_reason.items():
        names = join_words([describe(run) for run in group], most=3)
        yield Note("set-aside", f"{_runs(len(group))} set aside ({reason}): {names}.")


def _copy_notes(num_copies: int) -> tuple[Note, ...]:
    if not num_copies:
        return ()
    text = f"{_runs(num_copies)} repeat another row in every number and count once."
    return (Note("copies", text),)


def _shared_notes(points: Points) -> tuple[Note, ...]:
    configurations = len(set(points.cluster.tolist()))
    if configurations == len(points) or are_seeds(points.runs):
        return ()
    shared = (
        "rows of one trained model"
        if any(run.group for run in points.runs)
        else "replicates of one configuration"
    )
    text = (
        f"{len(points)} rows are {configurations} independent configurations: {shared} count as "
        f"separate points and move together in the resamples."
    )
    return (Note("replicates", text),)


def _runs(number: int) -> str:
    return f"{number} run{'s' if number > 1 else ''}"
