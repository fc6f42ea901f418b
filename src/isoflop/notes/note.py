"""Note: a reason to doubt a plan, a law or an answer; and the registry of their kinds.

A note is a string that reads as its text. Its code says what kind of note it is, whatever numbers
the text holds, so that programs need not read sentences.
"""

from collections.abc import Mapping
from typing import Self

from isoflop.notes import answer, law, plan, rates, sweep
from isoflop.notes.kind import Kind, Severity

__all__ = ["KINDS", "Note"]

_ALL = (*plan.KINDS, *sweep.KINDS, *rates.KINDS, *law.KINDS, *answer.KINDS)
KINDS: Mapping[str, Kind] = {kind.code: kind for kind in _ALL}
"""The kinds of note, by code."""


class Note(str):
    """A sentence of a plan, a fit or an answer, with the code of its kind.

    >>> note = Note("far-target", "The target is 40 times the largest run.")
    >>> note.code, note.severity
    ('far-target', 'doubt')
    >>> print(note)
    The target is 40 times the largest run.
    """

    __slots__ = ("code",)
    code: str

    def __new__(cls, code: str, text: str) -> Self:
        """A note of a registered code; raises KeyError for an unknown one."""
        KINDS[code]
        note = super().__new__(cls, text)
        note.code = code
        return note

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # str's own has one
        return self.code, str(self)

    @property
    def severity(self) -> Severity:
        """Whether the note explains the result (`info`) or weakens it (`doubt`)."""
        return KINDS[self.code].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.code].remedy
