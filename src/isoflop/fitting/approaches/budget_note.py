"""Notes on single budgets, which merge where they differ in the budget alone."""

from collections.abc import Iterable
from typing import Self

from isoflop.display.format import format_flops, join_words
from isoflop.notes.note import Note

__all__ = ["BudgetNote", "merged"]


class BudgetNote(Note):
    """A note that reads "Budget 1e+18 is flat": a budget, and a predicate about it.

    >>> BudgetNote("flat", 1e18, "is flat.")
    'Budget 1e+18 is flat.'
    """

    __slots__ = ("budget", "predicate")
    budget: float
    predicate: str

    def __new__(cls, code: str, budget: float, predicate: str) -> Self:
        """A note of a registered code about a budget of so many FLOPs."""
        note = super().__new__(cls, code, f"Budget {format_flops(budget)} {predicate}")
        note.budget, note.predicate = budget, predicate
        return note

    def __getnewargs__(self) -> tuple[str, float, str]:  # type: ignore[override]  # Note's has two
        return self.code, self.budget, self.predicate


def merged(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes without copies; those with the same predicate about several budgets become one."""
    kept: dict[str, list[Note]] = {}
    for note in notes:
        same = kept.setdefault(note.predicate if isinstance(note, BudgetNote) else note, [])
        if note not in same:
            same.append(note)
    return tuple(_joined(same) for same in kept.values())


def _joined(notes: list[Note]) -> Note:
    budgets = [note for note in notes if isinstance(note, BudgetNote)]
    if len(budgets) < 2:
        return notes[0]
    names = join_words([format_flops(note.budget) for note in budgets])
    return Note(budgets[0].code, f"Each of the budgets {names} {budgets[0].predicate}")
