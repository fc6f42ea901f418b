"""Notes about single budgets, and merged(): one note for all budgets that share a predicate."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from isoflop.display.format import format_flops, join_words
from isoflop.notes.note import Note

__all__ = ["BudgetNote", "merged", "of_several"]


class BudgetNote(Note):
    """A note about one budget: its text is "Budget", the budget's FLOPs and a predicate.

    >>> print(BudgetNote("flat", 1e18, "is flat."))
    Budget 1e+18 is flat.
    """

    __slots__ = ("budget", "predicate")
    budget: float
    predicate: str

    def __new__(cls, code: str, budget: float, predicate: str) -> Self:
        """A note of a registered code; raises KeyError for an unknown one."""
        note = super().__new__(cls, code, f"Budget {format_flops(budget)} {predicate}")
        note.budget, note.predicate = budget, predicate
        return note

    def __getnewargs__(self) -> tuple[str, float, str]:  # type: ignore[override]  # Note's has two
        return self.code, self.budget, self.predicate


Group = Sequence[Note]
"""Notes of one code that say the same: of budgets with one predicate, or a single note."""


def merged(notes: Iterable[Note], most: int = 3) -> tuple[Note, ...]:
    """Notes without copies; budgets with the same predicate share a note.

    most: notes of one kind about single budgets. Of more, the first is kept, with the number of
        the others.
    """
    groups: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        predicate = note.predicate if isinstance(note, BudgetNote) else str(note)
        group = groups.setdefault((note.code, predicate), [])
        if note not in group:
            group.append(note)
    kinds: dict[tuple[str, str], list[Group]] = {}
    for (code, text), group in groups.items():
        is_about_budgets = isinstance(group[0], BudgetNote)
        kinds.setdefault((code, "" if is_about_budgets else text), []).append(group)
    return tuple(note for kind in kinds.values() for note in _shortened(kind, most))


def of_several(answers: Iterable[tuple[float, Sequence[Note]]]) -> tuple[Note, ...]:
    """Notes of the answer with the most FLOPs, and those of kinds that only others have.

    answers: FLOPs and notes of each. Of one kind, the answer with the fewest FLOPs gives the note.
    """
    rising = sorted(answers, key=lambda answer: answer[0])
    told = list(rising[-1][1]) if rising else []
    codes = {note.code for note in told}
    for flops, notes in rising[:-1]:
        more = [note for note in notes if note.code not in codes]
        told += [Note(note.code, f"At {format_flops(flops)} FLOPs: {note}") for note in more]
        codes |= {note.code for note in more}
    return tuple(told)


def _shortened(kind: Sequence[Group], most: int) -> Iterator[Note]:
    """The notes of one kind, or the first with the number of the others."""
    if len(kind) <= most:
        yield from map(_joined, kind)
        return
    first = _joined(kind[0])
    rest = [budget for group in kind[1:] for budget in _budgets(group)]
    names = join_words(rest, most=4)
    text = f"{first.removesuffix('.')}; likewise {len(rest)} more budgets ({names})."
    yield Note(first.code, text)


def _joined(group: Group) -> Note:
    first, budgets = group[0], _budgets(group)
    if len(budgets) < 2 or not isinstance(first, BudgetNote):
        return first
    return Note(first.code, f"Each of the budgets {join_words(budgets)} {first.predicate}")


def _budgets(group: Group) -> list[str]:
    return [format_flops(note.budget) for note in group if isinstance(note, BudgetNote)]
