"""merged(): notes that hold for several budgets become one note each."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from isoflop.display.format import join_words
from isoflop.notes.note import Note

__all__ = ["merged"]

_OF_BUDGET = re.compile(r"Budget (\S+) ((?:has|is) .*)")

Words = tuple[str, str]
"""Code of a note, and what its text says of a budget, or all of it."""


def merged(notes: Iterable[Note], most: int = 3) -> tuple[Note, ...]:
    """Notes without copies; those that say the same of several budgets name them all in one.

    most: notes of one kind about single budgets. Of more, the first is kept, with the number of
        the others.
    """
    budgets: dict[Words, list[str]] = {}
    for note in notes:
        about = _OF_BUDGET.fullmatch(note)
        named = budgets.setdefault((note.code, about[2] if about else str(note)), [])
        if about and about[1] not in named:
            named.append(about[1])
    kinds: dict[Words, dict[Words, list[str]]] = {}
    for words, named in budgets.items():
        kinds.setdefault((words[0], "") if named else words, {})[words] = named
    return tuple(note for alike in kinds.values() for note in _merged(alike, most))


def _merged(alike: Mapping[Words, Sequence[str]], most: int) -> Iterator[Note]:
    """Notes of one kind, with the budgets that each is about."""
    if len(alike) <= most:
        yield from (_about(words, budgets) for words, budgets in alike.items())
        return
    (first, its), *others = alike.items()
    rest = [budget for _, budgets in others for budget in budgets]
    text = _about(first, its).removesuffix(".")
    yield Note(first[0], f"{text}; likewise {len(rest)} more budgets ({join_words(rest, most=4)}).")


def _about(words: Words, budgets: Sequence[str]) -> Note:
    code, text = words
    if len(budgets) > 1:
        return Note(code, f"Each of the budgets {join_words(budgets)} {text}")
    return Note(code, f"Budget {budgets[0]} {text}" if budgets else text)
