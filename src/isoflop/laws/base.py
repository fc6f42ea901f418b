"""What a law is: a formula whose numbers are floats, or arrays with one entry per resample.

N params, D tokens, C FLOPs, L loss.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from isoflop import arguments
from isoflop.display.format import format_number

__all__ = [
    "TOKENS_PER_PARAM",
    "Array",
    "CostPerToken",
    "Law",
    "Number",
    "PowerLaw",
    "Surface",
    "as_code",
    "cheapest_size",
    "cost_of",
    "entry",
    "plain",
    "require_numbers",
    "six_per_param",
]

Array = NDArray[np.float64]
Number = float | Array
"""A float, or an array that broadcasts against the arrays of a law."""

CostPerToken = Callable[[Number], Number]
"""N -> FLOPs per token, for arrays of N."""

TOKENS_PER_PARAM = 20.0
"""Usual ratio of the compute-optimal run (Hoffmann et al. 2022), where nothing better is known."""


def six_per_param(N: Number) -> Number:
    """FLOPs of training on one token: 2 per param forward and 4 backward."""
    return 6 * N


def cost_of(flops_per_token: CostPerToken | None) -> CostPerToken:
    """The given cost per token, or 6N for None."""
    return six_per_param if flops_per_token is None else flops_per_token


class Law(ABC):
    """The compute-optimal size, tokens and loss at every compute.

    A law is a frozen dataclass whose fields are its numbers. One that knows the loss of every
    (N, D) is a `Surface`. A law that `Parametric` can fit has a method `pose` as well.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @abstractmethod
    def optimum(
        self, C: Number, flops_per_token: CostPerToken | None = None
    ) -> tuple[Number, Number]:
        """(N, D) of the lowest loss at C FLOPs, where a token costs flops_per_token(N)."""

    @abstractmethod
    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number | None:
        """Loss of the optimum at C FLOPs; None where the law does not know the loss."""

    @abstractmethod
    def excess(
        self, N: Number, C: Number, flops_per_token: CostPerToken | None = None
    ) -> Number | None:
        """Loss of N params trained with C FLOPs above the loss of the optimum at C."""

    def formula(self) -> str:
        """The law in rounded numbers, such as `L = 1.69 + 406 / N^0.34 + 411 / D^0.28`."""
        return str(self)

    def numbers(self) -> dict[str, Number]:
        """The law's numbers by name; those of a power law in it are named `num_params.exponent`."""
        return dict(_numbers(self))

    def entry(self, index: int) -> Self:
        """One of the laws in a law of arrays."""
        return entry(self, index)


class Surface(Law):
    """A law that knows the loss of any number of params and tokens."""

    @abstractmethod
    def loss(self, N: Number, D: Number) -> Number:
        """Loss of N params trained on D tokens."""

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of the optimum at C FLOPs."""
        return self.loss(*self.optimum(C, flops_per_token))

    def excess(self, N: Number, C: Number, flops_per_token: CostPerToken | None = None) -> Number:
        """Loss of N params trained with C FLOPs above the loss of the optimum at C."""
        D = C / cost_of(flops_per_token)(N)
        return self.loss(N, D) - self.optimal_loss(C, flops_per_token)


@dataclass(frozen=True)
class PowerLaw:
    """offset + coefficient * C^exponent."""

    coefficient: Number
    exponent: Number
    offset: Number = 0.0

    def __post_init__(self) -> None:
        require_numbers(self)

    def __call__(self, C: Number) -> Number:
        """Value at C FLOPs; an array of C needs a last axis of its own if the fields are arrays."""
        return plain(self.offset + np.exp(np.log(self.coefficient) + self.exponent * np.log(C)))

    def formula(self) -> str:
        """In rounded numbers, medians of arrays: `1.5 + 60 C^-0.08`."""
        offset, coefficient, exponent = (
            format_number(float(np.median(value)), 4)
            for value in (self.offset, self.coefficient, self.exponent)
        )
        return f"{f'{offset} + ' if np.any(self.offset) else ''}{coefficient} C^{exponent}"


def _numbers(law: Law | PowerLaw, within: str = "") -> Iterator[tuple[str, Number]]:
    for part in fields(law):
        value = getattr(law, part.name)
        if isinstance(value, PowerLaw):
            yield from _numbers(value, f"{within}{part.name}.")
        elif value is not None:
            yield within + part.name, value


AnyLaw = TypeVar("AnyLaw", bound="Law | PowerLaw")


def entry(law: AnyLaw, index: int) -> AnyLaw:
    """One of the laws in a law of arrays."""
    picked = {part.name: _picked(getattr(law, part.name), index) for part in fields(law)}
    return type(law)(**picked)  # type: ignore[arg-type]  # the values are of the law's own fields


def _picked(value: Number | PowerLaw | None, index: int) -> Number | PowerLaw | None:
    if isinstance(value, PowerLaw):
        return entry(value, index)
    return value[index] if isinstance(value, np.ndarray) and value.ndim else value


def as_code(law: Law) -> str:
    """A law as code, without the numbers that are NaN."""
    values = ((part.name, getattr(law, part.name)) for part in fields(law))
    shown = (f"{name}={value!r}" for name, value in values if np.ndim(value) or value == value)
    return f"{type(law).__name__}({', '.join(shown)})"


def plain(value: Number) -> Number:
    """A float for an array of no dimension."""
    return float(value) if np.ndim(value) == 0 else value


def cheapest_size(
    loss: Callable[[Number, Number], Number],
    C: Number,
    flops_per_token: CostPerToken,
    *,
    around: Number,
    reach: float = 100.0,
) -> Array:
    """N within x/÷reach of `around` with the lowest loss at C FLOPs, by golden-section search."""
    golden = (math.sqrt(5) - 1) / 2
    middle = np.log(around)
    low, high = middle - math.log(reach), middle + math.log(reach)

    def at(log_size: Number) -> Number:
        N = np.exp(log_size)
        return loss(N, C / flops_per_token(N))

    for _ in range(45):  # .618^45 of the span: 4e-9
        left, right = high - golden * (high - low), low + golden * (high - low)
        falls = at(left) > at(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    return np.asarray(np.exp((low + high) / 2))


def require_numbers(law: object) -> None:
    """Read a law's fields that are no arrays as numbers. Raises DataError where one is none."""
    for part in fields(law):  # type: ignore[arg-type]  # every law is a dataclass
        value = getattr(law, part.name)
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
        if type(value) is not float and not is_array:
            name = f"{type(law).__name__}: {part.name}"
            read = arguments.number(
                value, name, must="a number", holds=lambda one: abs(one) < math.inf
            )
            object.__setattr__(law, part.name, read)
