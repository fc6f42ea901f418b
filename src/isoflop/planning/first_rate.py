"""The note on the learning rate that a plan starts with, where the recipe leaves it open."""

from collections.abc import Sequence

from isoflop.counting.sizes import Sizes
from isoflop.display.format import format_count
from isoflop.notes.note import Note
from isoflop.runs import RunSpec
from isoflop.starts import LARGEST

__all__ = ["rate_notes"]

FAR = 10
"""Times the largest models that the starts were found on, from which on the plan says so."""


def rate_notes(sizes: Sizes, specs: Sequence[RunSpec]) -> list[Note]:
    """A note on the rule for the learning rate, unless it is the user's own."""
    if not specs:
        return []
    rising = sorted(specs, key=lambda spec: spec.num_params)
    start = sizes.start(rising[len(rising) // 2].size)
    if start is None:
        return []
    is_far = rising[-1].num_params > FAR * LARGEST
    found = f"found on models of up to {format_count(LARGEST)} params, so " if is_far else ""
    return [
        Note("starting-rate", f"Learning rate {start}; {found}tune it before a sweep that matters.")
    ]
