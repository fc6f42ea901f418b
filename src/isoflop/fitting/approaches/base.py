"""What an approach is: a value with one method, from points to a law and the way to refit it.

Uncertainty is the same approach on resampled runs, so a new law changes nothing elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from isoflop.errors import DataError
from isoflop.laws.base import Array, Law
from isoflop.laws.points import Points

__all__ = ["Approach", "Diagnostics", "NoLawError", "Solved"]


class NoLawError(DataError):
    """There are enough runs, but no law that an approach admits fits them."""


@dataclass(frozen=True)
class Diagnostics:
    """How a solver ended."""

    converged: bool = True
    agreement: float = 1.0
    """Share of the starts that ended in the same minimum."""
    at_bound: tuple[str, ...] = ()
    """Names of the parameters that ended at a bound."""
    condition: float = 1.0
    """Condition number of the Jacobian with columns of unit length."""


@dataclass(frozen=True, eq=False)
class Solved:
    """An approach's law for some points."""

    law: Law
    """Has optimum(C, flops_per_token=None) and optimal_loss(C, flops_per_token=None); a surface has loss(N, D) too."""
    objective: float
    refit: Callable[[Array], Law] | None = None
    """Weights of the points, shape (R, n) -> the law with arrays of shape (R,); NaN where a resample has no answer."""
    draw: Callable[[int, np.random.Generator], Law] | None = None
    """Number of draws -> the law with arrays: the approach's own doubt, used instead of a bootstrap."""
    gaussian: Callable[[int, np.random.Generator], Law] | None = None
    """The same from the covariance of the fitted numbers, which is the delta method."""
    region: Any = None
    """The laws that the runs do not rule out, for profile intervals; None where the approach has no likelihood."""
    num_parameters: int = 0
    """Numbers fitted, which is what a bootstrap of few runs is corrected for."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    notes: tuple[str, ...] = ()


class Approach(Protocol):
    """From points to a law."""

    def solve(self, points: Points) -> Solved:
        """The law of some points; Raises DataError where they cannot determine it."""
        ...
