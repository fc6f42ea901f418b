"""fit(): runs and an approach give a Fit, a law with its runs and its doubt."""

from dataclasses import dataclass
from typing import Any

from isoflop.runs import Run

__all__ = ["Fit", "SetAside"]


@dataclass(frozen=True)
class SetAside:
    """A run that the fit did not use, and why."""

    run: Run
    reason: str


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law with the runs it came from and what weakens it."""

    approach: Any
    """The approach as it was called, e.g. Parametric(delta=0.001)."""
    law: Any
    runs: tuple[Run, ...]
    """Runs that were used."""
    set_aside: tuple[SetAside, ...]
    resamples: Any
    """The same law with arrays for numbers: one entry per resample."""
    level: float
    objective: float
    """Value of the minimised objective."""
    notes: tuple[str, ...]
