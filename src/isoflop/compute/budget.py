"""FLOPs of numbers and phrases: a budget, a target, or what a sweep may cost."""

import re

from isoflop import arguments
from isoflop.compute.phrases import parse_compute
from isoflop.display.format import quoted
from isoflop.errors import PlanError
from isoflop.notes.note import Note

__all__ = ["flops_of", "reading_notes", "spend_of"]


def flops_of(value: float | str, name: str = "target") -> float:
    """FLOPs of a number above 0 or of a phrase; `name` is the argument's name in errors."""
    if isinstance(value, str):
        return parse_compute(value).flops
    must = "FLOPs above 0, as a number or a phrase such as '1e21'"
    return float(arguments.positive(value, name, must=must, error=PlanError))


def spend_of(value: float | str) -> float:
    """What a sweep may cost: FLOPs, or a share of the target such as 1% or 0.01."""
    share = _share(value)
    if share is not None and not 0 < share <= 1:
        raise PlanError(f"spend may be a share of the target up to 100%, but got {quoted(value)}.")
    return flops_of(value, "spend") if share is None else share


def reading_notes(value: float | str | None) -> tuple[Note, ...]:
    """Notes on the assumptions made in reading a phrase."""
    return parse_compute(value).notes if isinstance(value, str) and _share(value) is None else ()


def _share(value: float | str) -> float | None:
    """The share that a phrase such as 1% gives; None for other values."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value) if isinstance(value, str) else None
    return None if match is None else float(match[1]) / 100
