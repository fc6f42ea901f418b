"""Approach: a value with one method, which turns points into a law and the means to refit it.

Uncertainty is the same approach on resampled runs, so that a new law needs no change elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from isoflop.errors import DataError
from isoflop.laws.base import Array, Law
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["Approach", "Diagnostics", "NoLawError", "Region", "Solved"]


class NoLawError(DataError):
    """Raised if the runs suffice in number, but no law of an approach fits them.

    reason: the first part of the message, which ends with a remedy.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}."


@dataclass(frozen=True)
class Diagnostics:
    """Convergence of a solver."""

    converged: bool = True
    agreement: float = 1.0
    """Share of the starts that ended in the same minimum."""
    at_bound: tuple[str, ...] = ()
    """Names of the parameters that ended at a bound."""
    condition: float = 1.0
    """Condition number of the Jacobian with columns of unit length."""


class Region(Protocol):
    """The laws that the runs do not rule out."""

    def range_of(self, measure: Callable[[Law], float], level: float) -> tuple[float, float]:
        """Profile interval of a positive measure of the law, as logs."""
        ...


@dataclass(frozen=True, eq=False)
class Solved:
    """The law of an approach for given points."""

    law: Law
    objective: float
    """Value of the minimised objective."""
    refit: Callable[[Array], Law] | None = None
    """Weights of the points, shape (R, n) -> the law with arrays of shape (R,); NaN for resamples
    without an answer."""
    draw: Callable[[int, np.random.Generator], Law] | None = None
    """Number of draws -> the law with arrays, from the approach's own posterior; replaces the
    bootstrap."""
    gaussian: Callable[[int, np.random.Generator], Law] | None = None
    """Number of draws -> the law with arrays, from the covariance of its numbers (delta method)."""
    region: Region | None = None
    """The laws that the runs do not rule out, for profile intervals; None without a likelihood."""
    num_parameters: int = 0
    """Fitted numbers, for which a bootstrap of few runs is corrected."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    notes: tuple[Note, ...] = ()


class Approach(Protocol):
    """A way from points to a law."""

    def solve(self, points: Points) -> Solved:
        """The law of the points; Raises DataError where they cannot determine it."""
        ...
