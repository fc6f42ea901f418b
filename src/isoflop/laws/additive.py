"""Laws: formulas for the loss or for the optimum, whose fields may be numbers or arrays of resampled numbers.

N params, D tokens, C FLOPs, L loss; L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, eq. 2).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from isoflop import arguments
from isoflop.errors import DataError
from isoflop.laws.objective import Term
from isoflop.laws.points import Array, Points

__all__ = [
    "ChinchillaLaw",
    "CostPerToken",
    "FrontierLaw",
    "Posed",
    "PowerLaw",
    "entry",
    "require_numbers",
    "six_per_param",
]

CostPerToken = Callable[[Any], Any]
"""N -> FLOPs per token, for arrays of N."""


def six_per_param(N: Any) -> Any:
    """FLOPs of training on a token where nothing better is known: 2 forward and 4 backward per param."""
    return 6 * N


@dataclass(frozen=True, eq=False)
class Posed:
    """A law as a solver's problem: its terms at some points, and the way back from parameters to the law."""

    terms: tuple[Term, ...]
    names: tuple[str, ...]
    law: Callable[[Array], Any]
    """Parameters, shape (Q,) or (R, Q) -> the law with numbers or arrays of shape (R,)."""
    offset: float = 0.0
    unit: float | None = None
    """That of `Problem`, where the law is a power of a sum."""


@dataclass(frozen=True)
class PowerLaw:
    """offset + coefficient * C^exponent."""

    coefficient: Any
    exponent: Any
    offset: Any = 0.0

    def __post_init__(self) -> None:
        require_numbers(self)

    def __call__(self, C: Any) -> Any:
        """Value at C FLOPs; an array of C needs a last axis of its own when the fields are arrays."""
        return self.offset + np.exp(np.log(self.coefficient) + self.exponent * np.log(C))


@dataclass(frozen=True)
class FrontierLaw:
    """The optimum as power laws of the FLOPs, without a law for other sizes (Approaches 1 and 2)."""

    num_params: PowerLaw
    num_tokens: PowerLaw
    loss: PowerLaw | None = None
    """Loss of the optimum; None where the approach says nothing about it."""
    sharpness: Any = None
    """Second derivative of the loss in log N around the optimum, median over the budgets."""

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) that C FLOPs are best spent on; with flops_per_token, D is what C pays for at N."""
        N = self.num_params(C)
        return N, self.num_tokens(C) if flops_per_token is None else C / flops_per_token(N)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum; None where the approach says nothing about it."""
        return None if self.loss is None else self.loss(C)


@dataclass(frozen=True)
class ChinchillaLaw:
    """L = E + A / N^alpha + B / D^beta; as an argument of `Parametric`, fields left out are fitted, others are held.

    >>> law = ChinchillaLaw(E=1.817, A=477.8, B=2143.9, alpha=0.3473, beta=0.3672)
    >>> N, D = law.optimum(5.76e23)
    >>> f"{N:.2e} {D:.2e} {law.loss(N, D):.3f}"
    '7.33e+10 1.31e+12 1.974'
    """

    E: Any = math.nan
    A: Any = math.nan
    B: Any = math.nan
    alpha: Any = math.nan
    beta: Any = math.nan

    def __post_init__(self) -> None:
        require_numbers(self)

    def __repr__(self) -> str:
        return as_written(self)

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens."""
        return self.E + self.A * np.power(N, -self.alpha) + self.B * np.power(D, -self.beta)

    @property
    def exponent(self) -> Any:
        """Exponent a of the best N in C: beta / (alpha + beta)."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for, where a token costs flops_per_token(N), 6N by default.

        Hoffmann et al. 2022, eq. 4, for 6N; found numerically for other costs.
        """
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # a law whose loss falls with one alone has no optimum
            ratio = np.divide(self.alpha * self.A, self.beta * self.B)
        scale = ratio ** (1 / (self.alpha + self.beta))
        N = scale * (np.asarray(C, dtype=float) / 6) ** self.exponent
        if flops_per_token is None:
            return N, C / (6 * N)
        N = cheapest_size(self.loss, C, flops_per_token, around=N)
        return N, C / flops_per_token(N)

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        return self.loss(*self.optimum(C, flops_per_token))

    def pose(self, points: Points) -> Posed:
        """The problem of fitting the fields that are NaN, in logs centred on the points."""
        if not (np.isnan(self.A) and np.isnan(self.B)):
            raise DataError(
                "Parametric: E, alpha and beta can be held at a value, but A or B was given; leave them out."
            )
        x, y = np.log(points.N), np.log(points.D)
        middle_x, middle_y = x.mean(), y.mean()
        constant = [] if _is_given(self.E) else [Term(np.ones(len(x)))]
        exponents = [name for name in ("alpha", "beta") if not _is_given(getattr(self, name))]
        terms = (
            *constant,
            _power(x - middle_x, self.alpha, 0),
            _power(y - middle_y, self.beta, len(exponents) - 1),
        )
        first = len(constant)

        def law(parameters: Array) -> ChinchillaLaw:
            found = dict(
                zip(exponents, np.moveaxis(parameters[..., first + 2 :], -1, 0), strict=True)
            )
            alpha, beta = found.get("alpha", self.alpha), found.get("beta", self.beta)
            E = parameters[..., 0] if constant else self.E
            A = parameters[..., first] * np.exp(alpha * middle_x)
            B = parameters[..., first + 1] * np.exp(beta * middle_y)
            return ChinchillaLaw(
                *(float(v) if np.ndim(v) == 0 else v for v in (E, A, B, alpha, beta))
            )

        names = (*(["E"] if constant else []), "A", "B", *exponents)
        return Posed(terms, names, law, self.E if _is_given(self.E) else 0.0)


def require_numbers(law: Any) -> None:
    """Read a law's fields that are no arrays as numbers. Raises DataError where one is none."""
    for part in fields(law):
        value = getattr(law, part.name)
        if type(value) is not float and not (
            isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
        ):
            name = f"{type(law).__name__}: {part.name}"
            read = arguments.number(
                value, name, must="a number", holds=lambda one: abs(one) < math.inf
            )
            object.__setattr__(law, part.name, read)


def as_written(law: Any) -> str:
    """A law as code, without the numbers that are NaN."""
    given = [(part.name, getattr(law, part.name)) for part in fields(law)]
    shown = (f"{name}={value!r}" for name, value in given if np.ndim(value) or _is_given(value))
    return f"{type(law).__name__}({', '.join(shown)})"


def _is_given(value: Any) -> bool:
    return not np.isnan(value)


def _power(logs: Array, held: float, exponent: int) -> Term:
    """exp(-theta logs) with theta fitted, or held at a value."""
    return (
        Term(np.exp(-held * logs)) if _is_given(held) else Term(np.ones(len(logs)), exponent, logs)
    )


def cheapest_size(
    loss: Callable[[Any, Any], Any],
    C: Any,
    flops_per_token: CostPerToken,
    *,
    around: Any,
    reach: float = 100.0,
) -> Any:
    """N within x/÷reach of `around` at which C FLOPs give the lowest loss; golden-section search."""
    golden = (math.sqrt(5) - 1) / 2
    middle = np.log(around)
    low, high = middle - math.log(reach), middle + math.log(reach)

    def at(log_size: Any) -> Any:
        N = np.exp(log_size)
        return loss(N, C / flops_per_token(N))

    for _ in range(45):  # .618^45 of the span: 4e-9
        left, right = high - golden * (high - low), low + golden * (high - low)
        falls = at(left) > at(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    return np.exp((low + high) / 2)


AnyLaw = TypeVar("AnyLaw")


def entry(law: AnyLaw, index: Any) -> AnyLaw:
    """One of the laws in a law of arrays."""
    changed = {field.name: _pick(getattr(law, field.name), index) for field in fields(law)}  # type: ignore[arg-type]
    return type(law)(**changed)


def _pick(value: Any, index: Any) -> Any:
    if isinstance(value, PowerLaw):
        return entry(value, index)
    return value[index] if np.ndim(value) else value
