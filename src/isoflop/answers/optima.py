"""Optima: the answers for several values of one quantity, as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from isoflop.answers.optimum import Optimum
from isoflop.answers.optimum_table import optima_table
from isoflop.display.format import format_bullets, format_html, format_percent
from isoflop.display.table import Table
from isoflop.display.writers import to_text
from isoflop.fitting.metrics import MetricFit
from isoflop.notes.merging import of_several
from isoflop.notes.note import Note
from isoflop.tabular import Tabular

__all__ = ["Optima"]


@dataclass(frozen=True)
class Optima(Tabular, Sequence[Optimum]):
    """Answers in the order of the values; a sequence of `Optimum` that prints as a table."""

    optima: tuple[Optimum, ...]

    @overload
    def __getitem__(self, index: int) -> Optimum: ...
    @overload
    def __getitem__(self, index: slice) -> "Optima": ...
    def __getitem__(self, index: int | slice) -> "Optimum | Optima":
        return Optima(self.optima[index]) if isinstance(index, slice) else self.optima[index]

    def __len__(self) -> int:
        return len(self.optima)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes of the answer with the most FLOPs, and kinds of note that only others have."""
        return of_several((optimum.flops, optimum.notes) for optimum in self.optima)

    def with_metric(self, stage: MetricFit) -> "Optima":
        """The same answers, each with the metric that `fit_metric` expects at its loss."""
        return Optima(tuple(optimum.with_metric(stage) for optimum in self.optima))

    def table(self) -> Table:
        """One row for each answer."""
        return optima_table(self.optima)

    def __str__(self) -> str:
        parts = (to_text(self.table()), format_bullets(self.notes))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        table = self.table()
        return format_html(_heading(self), [[table.headings(), *table.cells()]], self.notes)


def _heading(optima: Optima) -> str:
    answers = f"{len(optima)} answer{'s' if len(optima) != 1 else ''}"
    return f"{answers} ({format_percent(optima[0].level)} intervals)" if len(optima) else answers
