"""Rows of a table that count: of each run the finished one, of each sweep of settings the best.

What is left out here would be silently wrong in every approach, so that it is left out once, before
all of them. N params, D tokens.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_number, join_words
from isoflop.errors import DataError
from isoflop.fitting.cells import SETTINGS, Cell, swept_cells
from isoflop.fitting.rates import rates_of
from isoflop.laws.points import Points, lies_on_a_line
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["FEW_EPOCHS", "Needs", "Selected", "select"]

FEW_EPOCHS = 4.0
"""Passes over the data up to which repeated tokens are worth nearly as much as new ones
(Muennighoff et al. 2023, 2305.16264)."""
MANY_EPOCHS = 16.0
"""Passes up to which a law of repeated data describes the loss (same source)."""
ROUNDED = 1.05
"""Factor by which passes may exceed these numbers, which tokens are seldom rounded to."""
FEWEST = 6
"""Fewest sizes and numbers of tokens that must be left."""
STEADY = ("constant", "decayed", "none")
"""Beginnings of schedules under which every row of a run counts."""
CLEAR = 2.0
"""Standard errors from which on the curves of the runs bend as under a constant rate."""
EDGE_SHARE = 0.25
"""Share of the sweeps with their best at an edge above which a note says so."""


@dataclass(frozen=True)
class Needs:
    """What an approach can read besides one finished run per row."""

    curves: bool = False
    """Rows of a run before its last, as points of its training curve."""
    repeats: bool = False
    """Rows that repeat their data many times."""


@dataclass(frozen=True)
class Selected:
    """The runs that count, and notes about the others."""

    runs: list[Run]
    notes: tuple[Note, ...]


def select(runs: Sequence[Run], needs: Needs) -> Selected:
    """The runs that count. Raises DataError where it must be known how the rates went."""
    selected = Selected([*runs], ())
    if not needs.curves:
        selected = _finished(selected)
    selected = _best(selected)
    return _rarely_repeated(selected, needs)


# -- rows of a run before its last ---------------------------------------------------------------


def _finished(selected: Selected) -> Selected:
    """Without rows of a run before its last, whose schedule had not ended there."""
    runs = selected.runs
    early = _early(runs)
    if not early.any():
        return selected
    last = [run for run, is_early in zip(runs, early, strict=True) if not is_early]
    models = len({run.group for run, is_early in zip(runs, early, strict=True) if is_early})
    if _determine_a_law(last):
        text = (
            f"{int(early.sum())} rows of runs before their last are left out ({models} runs): a "
            f"loss counts where the learning rate had decayed, or never does; if that is so in "
            f"these rows, say it with a column schedule (constant or decayed) or "
            f'read_runs(..., schedule="constant").'
        )
        return Selected(last, (*selected.notes, Note("unfinished-rows", text)))
    stated = any(run.spec.schedule for run, is_early in zip(runs, early, strict=True) if is_early)
    if stated or not _bend_as_constant(runs, early):
        raise DataError(
            f"fit needs finished runs, but {int(early.sum())} of {len(runs)} rows come before the "
            f"last of their run and the others do not determine a law; if the learning rate was "
            f'constant, or decayed to each row, say so with read_runs(..., schedule="constant").'
        )
    text = (
        f"Rows of runs before their last are used, although their schedule is unknown "
        f"({int(early.sum())} of {len(runs)} rows): the last ones alone do not determine a law, "
        f"and the losses fall as under a constant learning rate; say it with "
        f'read_runs(..., schedule="constant").'
    )
    return Selected(runs, (*selected.notes, Note("checkpoints-used", text)))


def _early(runs: Sequence[Run]) -> NDArray[np.bool_]:
    """Which rows come before the last of their run and may be measured before its rate decayed."""
    most: dict[Hashable, float] = {}
    for run in runs:
        if run.group is not None:
            key = (run.group, run.num_params)
            most[key] = max(most.get(key, 0.0), run.num_tokens)
    return np.array(
        [
            run.group is not None
            and run.num_tokens < most[run.group, run.num_params]
            and not run.spec.fingerprint
            and not (run.spec.schedule or "").startswith(STEADY)
            for run in runs
        ],
        dtype=bool,
    )


def _determine_a_law(runs: Sequence[Run]) -> bool:
    points = Points.of(runs)
    enough = len(set(zip(points.N, points.D, strict=True))) >= FEWEST
    return (
        enough and min(len(set(points.N)), len(set(points.D))) >= 3 and not lies_on_a_line(points)
    )


def _bend_as_constant(runs: Sequence[Run], early: NDArray[np.bool_]) -> bool:
    """Whether log loss flattens over log tokens in the runs, as it does under a constant rate.

    A decaying rate makes it steeper towards the end.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.group, run.num_params), []).append(run)
    bends = np.array([_bend(group) for group in groups.values() if len(group) >= 4])
    if len(bends) < 3:
        return False
    return bool(bends.mean() > CLEAR * bends.std() / np.sqrt(len(bends)))


def _bend(runs: Sequence[Run]) -> float:
    """Second derivative of log loss over log tokens."""
    x = np.log([run.num_tokens for run in runs])
    return float(np.polyfit(x - x.mean(), np.log([run.loss for run in runs]), 2)[0])


# -- sweeps of settings --------------------------------------------------------------------------


def _best(selected: Selected) -> Selected:
    """With the best setting of each cell that sweeps some."""
    runs = selected.runs
    cells = swept_cells(runs)
    if not cells:
        return selected
    dropped = {row for cell in cells for row in cell.rows} - {
        row for cell in cells for row in cell.best_rows
    }
    between = {cell.best_rows[0]: loss for cell in cells if (loss := cell.between) is not None}
    lone = {cell.best_rows[0] for cell in cells if len(cell.best_rows) == 1}
    kept = [
        replace(run, loss=between[row]) if row in between and row in lone else run
        for row, run in enumerate(runs)
        if row not in dropped
    ]
    notes = (_best_note(cells, sorted(between.keys() & lone)), *_edge_notes(cells))
    return Selected(kept, (*selected.notes, *notes))


def _best_note(cells: Sequence[Cell], between: Sequence[int]) -> Note:
    rows = sum(len(cell.rows) for cell in cells)
    swept = [name for name in SETTINGS if any(len(cell.tried(name)) > 1 for cell in cells)]
    text = (
        f"{rows} rows sweep {join_words(swept)} at {len(cells)} sizes and numbers of tokens: each "
        f"counts with its best"
    )
    if between:
        text += f", {len(between)} with the minimum between its settings, which are far apart"
    steps = [cell.steps_from_edge(name) for cell in cells for name in cell.swept]
    if steps:
        text += (
            f". The best lies {np.median(steps):g} values from the edge of "
            f"its grid at the median, {min(steps)} at least"
        )
    rates = rates_of(cells)
    laws = [] if rates is None else [("lr", rates.lr), ("batch", rates.batch)]
    rules = [f"{name} goes as {law.rule}" for name, law in laws if law is not None]
    if rules:
        text += f". The best {join_words(rules)} (isoflop.fit_rates)"
    return Note("best-settings", f"{text}.")


def _edge_notes(cells: Sequence[Cell]) -> tuple[Note, ...]:
    at_edge = {
        name: sum(cell.steps_from_edge(name) == 0 for cell in cells if name in cell.swept)
        for name in {name for cell in cells for name in cell.swept}
    }
    often = {name: number for name, number in at_edge.items() if number > EDGE_SHARE * len(cells)}
    return tuple(
        Note(
            "settings-at-edge",
            f"In {number} of {len(cells)} sweeps the best {name} is the smallest or the largest "
            f"tried: the loss could fall further beyond it.",
        )
        for name, number in sorted(often.items())
    )


# -- repeated data -------------------------------------------------------------------------------


def _rarely_repeated(selected: Selected, needs: Needs) -> Selected:
    """Without rows that repeat their data too often for the approach."""
    most = MANY_EPOCHS if needs.repeats else FEW_EPOCHS
    often = np.array(
        [_passes(run) > most * ROUNDED and not run.spec.fingerprint for run in selected.runs],
        dtype=bool,
    )
    if not often.any():
        return selected
    rest = [run for run, is_often in zip(selected.runs, often, strict=True) if not is_often]
    head = (
        f"{int(often.sum())} of {len(often)} rows repeat their data more than {most:g} times, up "
        f"to {format_number(max(map(_passes, selected.runs)), 3)}"
    )
    is_enough = _determine_a_law(rest)
    outcome = (
        "are left out" if is_enough else "count all the same, since the others determine no law"
    )
    text = f"{head}: they {outcome}; {_why(needs)}."
    kept = rest if is_enough else selected.runs
    return Selected(kept, (*selected.notes, Note("repeated-rows", text)))


def _why(needs: Needs) -> str:
    if needs.repeats:
        return "models that repeat so much overfit, which no law of this form describes"
    return (
        "repeated tokens are worth less than new ones, and "
        "Parametric(DataConstrainedLaw()) fits how much"
    )


def _passes(run: Run) -> float:
    return run.spec.epochs or 1.0
