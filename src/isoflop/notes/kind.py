"""Kind: what notes of one code have in common."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Section", "Severity"]

Section = Literal["plan", "sweep", "law", "answer", "metric"]
Severity = Literal["info", "doubt"]
"""`info` explains how the result came about; `doubt` weakens it."""


@dataclass(frozen=True)
class Kind:
    """What notes of one code have in common, as the page on doubts lists it (in Markdown)."""

    code: str
    section: Section
    severity: Severity
    text: str
    """The words by which a reader finds the note, without its numbers."""
    remedy: str
    """What to do about it."""
