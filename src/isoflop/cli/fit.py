"""The fit of a command's runs, and its answers."""

# Imported inside the functions, as in cli/app.py.

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from isoflop.cli.arguments import approach_of, columns_of, prior_of

if TYPE_CHECKING:
    from isoflop.answers.optima import Optima
    from isoflop.answers.optimum import Optimum
    from isoflop.family import Family
    from isoflop.fitting.fit import Fit
    from isoflop.fitting.screening.screen import Keep
    from isoflop.runs import Run
    from isoflop.task import Task

__all__ = ["answer_of", "fit_runs_of"]


def fit_runs_of(
    source: str,
    task: "Task | Family | None",
    approach: str | None,
    prior: str | None,
    level: str,
    keep: str,
    column: Sequence[str] | None,
) -> "Fit":
    """The fit of a store's or a table's runs, with the notes of its reading."""
    from isoflop.fitting.fit import fit as fit_runs
    from isoflop.storage.tables import read_table, table_notes

    table = read_table(source, columns=columns_of(column or ()))
    given = _runs_of(table.runs, task)
    # fit() reads the level, as a number or a text, and refuses unknown words for keep.
    fitted = fit_runs(
        given,
        approach_of(approach),
        prior=prior_of(prior),
        level=cast(float, level),
        keep=cast("Keep", keep),
    )
    number_notes = () if table.is_store else table_notes(fitted.runs)
    return dataclasses.replace(fitted, notes=(*fitted.notes, *table.notes, *number_notes))


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
