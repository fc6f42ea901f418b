"""A choice among equal numbers that does not depend on the order of the rows."""

import numpy as np

from isoflop.laws.base import Array

__all__ = ["lowest"]


def lowest(values: Array, at: Array) -> int:
    """Index of the lowest value; of several, that at the largest place."""
    ties = np.flatnonzero(values == values.min())
    return int(ties[np.argmax(at[ties])])
