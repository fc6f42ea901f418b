"""Sizes of several parts, as (width, depth), that mix shapes within a budget."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from isoflop.notes.note import Note
from isoflop.runs import RunSpec, SizeValue

__all__ = ["shape_notes"]


def shape_notes(specs: Sequence[RunSpec]) -> tuple[Note, ...]:
    """One note where the sizes of a budget do not grow in all of their parts with their params.

    A valley then holds the effect of the shape beside that of the size, and its minimum may be that
    of a shape.
    """
    budgets: dict[float | None, dict[float, SizeValue]] = defaultdict(dict)
    for spec in specs:
        if spec.size is not None:
            budgets[spec.budget][spec.num_params] = spec.size
    for sizes in budgets.values():
        rising = [sizes[num_params] for num_params in sorted(sizes)]
        crossed = next((pair for pair in pairwise(rising) if _shrinks(*pair)), None)
        if crossed is not None:
            text = (
                f"Sizes mix shapes: {crossed[1]} has more params than {crossed[0]}, but is not "
                f"larger in each part, so that losses within a budget differ by shape as well as "
                f"by size; give sizes that grow together."
            )
            return (Note("mixed-shapes", text),)
    return ()


def _shrinks(first: SizeValue, second: SizeValue) -> bool:
    """Whether a numeric part of the second is smaller than that of the first."""
    if not (isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second)):
        return False
    pairs = zip(first, second, strict=True)
    return any(
        isinstance(a, int | float) and isinstance(b, int | float) and b < a for a, b in pairs
    )
