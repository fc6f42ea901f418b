"""FLOPs of a training batch as a polynomial in its dimensions, from counts on a few real batches.

The multiplications of a layer are a product of dimensions, so a polynomial gives FLOPs exactly: B L
and B L^2 for attention over B padded sequences of length L, B^2 for a loss that compares all
examples with each other. The terms are determined at the smallest size, their coefficients at each
size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from isoflop.user_code.data import dimensions, num_examples_in, tensors_in

__all__ = ["EXACT", "BatchCost", "Reading", "Terms", "exact_terms", "fitted_cost", "reading_of"]

Array = NDArray[np.float64]
Powers = tuple[int, ...]

EXACT = 1e-6
"""Largest relative difference of a polynomial from the counts that counts as rounding."""
MOST_VARIABLES = 3
"""Most dimensions, beside the examples, of a polynomial.

If more vary, the number of elements of a batch stands for all of them.
"""
MORE_COUNTS = 3
"""Counts beyond the terms of a polynomial, which show whether it is right."""


@dataclass(frozen=True)
class Reading:
    """The variables of the polynomial: a batch's number of examples and the dimensions that vary.

    columns: indices into `dimensions` (user_code/data.py); None if batches differ in their number
        of tensors or in too many dimensions, where the number of elements is the variable.
    others: for each dimension, the column that it equals, and its constant value if there is none.
    """

    columns: tuple[int, ...] | None
    others: tuple[tuple[int | None, int], ...] = ()

    def __call__(self, batch: object) -> tuple[float, ...]:
        """The variables of a batch, the examples first."""
        if self.columns is None:
            return (
                float(num_examples_in(batch)),
                float(sum(tensor.numel() for tensor in tensors_in(batch))),
            )
        shape = dimensions(batch)
        return tuple(float(shape[column]) for column in self.columns)

    def fits(self, batch: object) -> bool:
        """True if a batch differs from the batches read before in the variables only."""
        if self.columns is None:
            return True
        shape = dimensions(batch)
        return len(shape) == len(self.others) and all(
            number == (always if column is None else shape[column])
            for number, (column, always) in zip(shape, self.others, strict=True)
        )

    @property
    def num_variables(self) -> int:
        return 2 if self.columns is None else len(self.columns)


def reading_of(batches: Sequence[object]) -> Reading:
    """The variables in which batches differ; the number of examples always comes first."""
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
    """The terms of a polynomial in the variables of a batch, as powers of each variable.

    error: root mean square relative difference from the counts; 0 if the polynomial is exact.
    """

    powers: tuple[Powers, ...]
    error: float = 0.0

    def values(self, variables: Array) -> Array:
        """The terms of each batch, shape (batches, terms)."""
        return np.stack(
            [np.prod(variables ** np.array(powers), axis=1) for powers in self.powers], axis=1
        )

    def informative(self, variables: Array, more: int = 0) -> list[int]:
        """The batches whose counts best determine the coefficients, and `more` as a check."""
        if self.error > 0:
            return list(range(len(variables)))
        if variables.shape[1] == 1:  # any will do; the smallest are the fastest
            return list(range(len(self.powers)))
        values = self.values(variables)
        _, _, order = qr(_scaled(values).T, mode="economic", pivoting=True)
        return [int(row) for row in order[: len(self.powers) + more]]


def all_powers(num_variables: int) -> tuple[Powers, ...]:
    """Candidate powers, likeliest first: linear in the examples, then constant, then quadratic."""
    degree = 3 if num_variables <= 2 else 2
    others = [
        tuple(chosen.count(k) for k in range(num_variables - 1))
        for total in range(degree + 1)
        for chosen in combinations_with_replacement(range(num_variables - 1), total)
    ]
    square = [(2, *power) for power in others if sum(power) <= 1]
    return (*((1, *power) for power in others), *((0, *power) for power in others), *square)


def num_counts(num_variables: int) -> int:
    """Number of counts that determine the terms."""
    return len(all_powers(num_variables)) + (MORE_COUNTS if num_variables > 1 else 1)


def exact_terms(variables: Array, flops: Array) -> Terms:
    """The fewest terms of a polynomial that gives the counts; a plain one if none is exact."""
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

    error: root mean square relative difference from counts, more than there are terms.
    """

    reading: Reading
    terms: Terms
    coefficients: tuple[float, ...]
    error: float = 0.0

    def of(self, variables: Array) -> Array:
        """FLOPs of batches from their variables, shape (batches, variables)."""
        flops = self.terms.values(variables) @ np.array(self.coefficients)
        return np.asarray(np.rint(flops) if self.error == 0 else flops)  # integers up to rounding

    def of_batch(self, batch: object) -> float:
        """FLOPs of a batch."""
        return float(self.of(np.array([self.reading(batch)]))[0])


def fitted_cost(reading: Reading, terms: Terms, variables: Array, flops: Array) -> BatchCost:
    """The cost from counts; the counts beyond the number of terms give its error."""
    coefficients = _solved(terms.values(variables), flops)
    cost = BatchCost(reading, terms, tuple(coefficients.tolist()))
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
