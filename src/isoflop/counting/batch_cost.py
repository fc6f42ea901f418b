"""FLOPs of a training batch as a polynomial in its dimensions, found from counts on a few real batches.

Layers cost a number of multiplications that is a product of dimensions, so that a polynomial gives FLOPs exactly: B L
and B L^2 for attention over B padded sequences of length L, B^2 where a loss compares all examples with each other.
Which of its terms there are is found on the smallest size; their coefficients are counted at each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from isoflop.user_code.data import dimensions, num_examples_in, tensors_in

__all__ = ["EXACT", "BatchCost", "Reading", "Terms", "exact_terms", "fitted_cost", "reading_of"]

Array = NDArray[np.float64]
Powers = tuple[int, ...]

EXACT = 1e-6
"""Largest difference of a polynomial from the counts, as a share, that is rounding."""
MOST_VARIABLES = 3
"""Dimensions beside the examples that a polynomial is in; of more, the number of elements of a batch stands for all."""
MORE_COUNTS = 3
"""Counts beyond the terms of a polynomial, which show whether it is the right one."""


@dataclass(frozen=True)
class Reading:
    """Which numbers of a batch its FLOPs are a polynomial in: its examples, and the dimensions that vary.

    columns: places in `dimensions` (contract/data.py); None where batches differ in the number of their tensors or in
        too many dimensions, for the number of elements.
    others: of each place, the column that it equals, or None and the number that it always is.
    """

    columns: tuple[int, ...] | None
    others: tuple[tuple[int | None, int], ...] = ()

    def __call__(self, batch: Any) -> tuple[float, ...]:
        """The variables of a batch, the examples first."""
        if self.columns is None:
            return (
                float(num_examples_in(batch)),
                float(sum(tensor.numel() for tensor in tensors_in(batch))),
            )
        found = dimensions(batch)
        return tuple(float(found[column]) for column in self.columns)

    def fits(self, batch: Any) -> bool:
        """True where a batch differs from those that this was read from in nothing but the variables."""
        if self.columns is None:
            return True
        found = dimensions(batch)
        return len(found) == len(self.others) and all(
            number == (always if column is None else found[column])
            for number, (column, always) in zip(found, self.others, strict=True)
        )

    @property
    def num_variables(self) -> int:
        return 2 if self.columns is None else len(self.columns)


def reading_of(batches: Sequence[Any]) -> Reading:
    """The variables in which some batches differ; the examples are always the first."""
    shapes = [dimensions(batch) for batch in batches]
    if len({len(shape) for shape in shapes}) > 1:
        return Reading(None)
    table = np.array(shapes)
    columns = [0]
    others: list[tuple[int | None, int]] = []
    for column, values in enumerate(table.T):
        same = next((known for known in columns if (values == table[:, known]).all()), None)
        if same is None and (values != values[0]).any():
            columns.append(column)
            same = column
        others.append((same, int(values[0])))
    return (
        Reading(tuple(columns), tuple(others))
        if len(columns) <= 1 + MOST_VARIABLES
        else Reading(None)
    )


@dataclass(frozen=True)
class Terms:
    """The terms of a polynomial in the variables of a batch, as powers of each of them.

    error: root mean square difference from the counts, as a share; 0 where it gives them exactly.
    """

    powers: tuple[Powers, ...]
    error: float = 0.0

    def values(self, variables: Array) -> Array:
        """Each term of each batch, shape (batches, terms)."""
        return np.stack(
            [np.prod(variables ** np.array(powers), axis=1) for powers in self.powers], axis=1
        )

    def telling(self, variables: Array, more: int = 0) -> list[int]:
        """The batches whose counts determine the coefficients best, and so many more to check them by."""
        if self.error > 0:
            return list(range(len(variables)))
        if variables.shape[1] == 1:  # any do: the smallest batches are counted soonest
            return list(range(len(self.powers)))
        values = self.values(variables)
        _, _, order = qr(_scaled(values).T, mode="economic", pivoting=True)
        return [int(row) for row in order[: len(self.powers) + more]]


def all_powers(num_variables: int) -> tuple[Powers, ...]:
    """Powers that are tried, the likeliest first: linear in the examples, then without them, then their square."""
    degree = 3 if num_variables <= 2 else 2
    others = [
        tuple(chosen.count(k) for k in range(num_variables - 1))
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(num_variables - 1), total)
    ]
    square = [(2, *power) for power in others if sum(power) <= 1]
    return (*((1, *power) for power in others), *((0, *power) for power in others), *square)


def num_counts(num_variables: int) -> int:
    """Counts that show which terms there are."""
    return len(all_powers(num_variables)) + (MORE_COUNTS if num_variables > 1 else 1)


def exact_terms(variables: Array, flops: Array) -> Terms:
    """The fewest terms of which a polynomial gives the counts; a plain one of them where none does exactly."""
    kept = list(all_powers(variables.shape[1]))
    if _misfit(kept, variables, flops) > EXACT:
        plain = [power for power in kept if power[0] == 1 and sum(power) <= 3]
        return Terms(tuple(plain), error=max(EXACT, _misfit(plain, variables, flops)))
    for power in reversed(list(kept)):
        fewer = [other for other in kept if other != power]
        if fewer and _misfit(fewer, variables, flops) <= EXACT:
            kept = fewer
    return Terms(tuple(kept))


@dataclass(frozen=True)
class BatchCost:
    """FLOPs of a training step on a batch, forward and backward, for one size of a model.

    error: root mean square difference from counts that it was not made from, as a share.
    """

    reading: Reading
    terms: Terms
    coefficients: tuple[float, ...]
    error: float = 0.0

    def of(self, variables: Array) -> Array:
        """FLOPs of batches from their variables, shape (batches, variables)."""
        flops = self.terms.values(variables) @ np.array(self.coefficients)
        return np.asarray(np.rint(flops) if self.error == 0 else flops)  # whole, but for rounding

    def of_batch(self, batch: Any) -> float:
        """FLOPs of a batch."""
        return float(self.of(np.array([self.reading(batch)]))[0])


def fitted_cost(reading: Reading, terms: Terms, variables: Array, flops: Array) -> BatchCost:
    """The cost that some counts show; those beyond the terms tell its error."""
    found = _solved(terms.values(variables), flops)
    cost = BatchCost(reading, terms, tuple(found.tolist()))
    error = float(np.sqrt(np.mean((cost.of(variables) / flops - 1) ** 2)))
    return BatchCost(reading, terms, cost.coefficients, error if error > EXACT else 0.0)


def _misfit(powers: Sequence[Powers], variables: Array, flops: Array) -> float:
    values = Terms(tuple(powers)).values(variables)
    return float(np.sqrt(np.mean((values @ _solved(values, flops) / flops - 1) ** 2)))


def _solved(values: Array, flops: Array) -> Array:
    """Coefficients by least squares on relative error."""
    rows = values / flops[:, None]
    scale = np.abs(rows).max(axis=0)
    return np.asarray(np.linalg.lstsq(rows / scale, np.ones(len(rows)), rcond=None)[0] / scale)


def _scaled(values: Array) -> Array:
    return np.asarray(values / np.abs(values).max(axis=0))
