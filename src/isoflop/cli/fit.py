"""The fit of a command's runs, and its answers."""

# Imported inside the functions, as in cli/app.py.

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

from isoflop.cli.arguments import approach_of, columns_of, prior_of
from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.answers.optima import Optima
    from isoflop.answers.optimum import Optimum
    from isoflop.family import Family
    from isoflop.fitting.approaches.base import Approach
    from isoflop.fitting.bayesian.prior import Prior
    from isoflop.fitting.fit import Fit
    from isoflop.fitting.screening.screen import Keep
    from isoflop.notes.note import Note
    from isoflop.runs import Run
    from isoflop.task import Task

__all__ = [
    "FitArguments",
    "Reading",
    "answer_of",
    "fit_groups_of",
    "fit_runs_of",
    "fitting_of",
    "reading_of",
]


class Reading(TypedDict):
    """How a source is read, as arguments of `read_runs`."""

    columns: Mapping[str, str]
    schedule: str | None
    vocabulary: float | None


class FitArguments(TypedDict):
    """How runs are fitted, as arguments of `fit`."""

    approach: "Approach | None"
    prior: "Prior | None"
    level: float
    keep: "Keep"


def reading_of(
    column: Sequence[str] | None, schedule: str | None, vocabulary: str | None
) -> Reading:
    """The options --column, --schedule and --vocabulary. Raises DataError for a wrong one."""
    from isoflop import arguments

    return {
        "columns": columns_of(column or ()),
        "schedule": schedule,
        "vocabulary": None
        if vocabulary is None
        else arguments.number(
            vocabulary, "--vocabulary", must="2 or more", holds=lambda one: one >= 2
        ),
    }


def fitting_of(approach: str | None, prior: str | None, level: str, keep: str) -> FitArguments:
    """The options --approach, --prior, --level and --keep."""
    # fit() reads the level, as a number or a text, and refuses unknown words for keep.
    return {
        "approach": approach_of(approach),
        "prior": prior_of(prior),
        "level": cast(float, level),
        "keep": cast("Keep", keep),
    }


def fit_runs_of(
    source: str, task: "Task | Family | None", reading: Reading, fitting: FitArguments
) -> "Fit":
    """The fit of a store's or a table's runs, with the notes of its reading."""
    from isoflop.storage.tables import read_table

    table = read_table(source, **reading)
    return _fit(_runs_of(table.runs, task), fitting, table.notes, counted=table.is_store)


def fit_groups_of(
    source: str, by: str, reading: Reading, fitting: FitArguments
) -> "dict[str, Fit]":
    """A fit for each value of a table's column. Raises DataError where one cannot be fitted."""
    from isoflop.storage.groups import read_grouped

    if os.path.isdir(source):
        raise DataError(
            f"--by reads a column of a table, but {one_line(source, 80)} is a folder; fit it "
            "without --by."
        )
    groups, notes = read_grouped(source, by=by, **reading)
    fits = {}
    for label, runs in groups.items():
        try:
            fits[label] = _fit(runs, fitting, notes, counted=False)
        except DataError as error:
            raise DataError(f"{one_line(by, 30)} {quoted(label, 30)}: {error}") from error
    return fits


def _fit(
    runs: "list[Run]", fitting: FitArguments, notes: "tuple[Note, ...]", *, counted: bool
) -> "Fit":
    """A fit with notes on the reading of its runs; counted: whether isoflop counted the FLOPs."""
    from isoflop.fitting.fit import fit as fit_runs
    from isoflop.storage.tables import table_notes

    fitted = fit_runs(runs, **fitting)
    number_notes = () if counted else table_notes(fitted.runs)
    return dataclasses.replace(fitted, notes=(*fitted.notes, *notes, *number_notes))


def _runs_of(runs: "list[Run]", task: "Task | Family | None") -> "list[Run]":
    """The runs of the given task, if there are runs of several."""
    from isoflop.runs import tasks_of
    from isoflop.storage.tables import read_runs

    if task is None or len(tasks_of(runs)) < 2:
        return runs
    from isoflop.counting.sizes_of import sizes_of

    return read_runs(runs, fingerprint=sizes_of(task).fingerprint)


def answer_of(fitted: "Fit", task: "Task | Family | None", **question: Any) -> "Optimum | Optima":
    """An Optimum, or Optima if the question has several values."""
    from isoflop.answers.predict import predict as predict_optimum

    answer: Optimum | Optima = predict_optimum(fitted, task=task, **question)
    return answer
