"""Reading and checking of public functions' arguments: numbers, shares, names, paths, lists.

A value with a clear meaning is accepted: 7e10, "70B", Decimal("1e21"), a number of NumPy or torch.
Any other is refused in one sentence with the argument's name, the rule, and the value.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, TypeGuard

from isoflop.display.format import quoted
from isoflop.errors import DataError, IsoflopError

__all__ = [
    "a_path",
    "automatic",
    "count",
    "flag",
    "is_number",
    "listed",
    "mapping",
    "number",
    "one_of",
    "plain",
    "positive",
    "refused",
    "several",
    "share",
    "whole",
    "word",
]

Error = Callable[[str], IsoflopError]

_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_TEXT = re.compile(
    r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d[\d_]*)?(?:\.\d*)?(?:e[-+]?\d+)?)\s*"
    r"(|k|m|b|bn|g|t|p|e|thousand|million|billion|trillion)"
    r"\s*(?:params?|parameters?|tokens?|flops?|bytes?|images?)?",
    re.IGNORECASE,
)
LONGEST = 255
"""Most characters of a file's name in common file systems."""
_LARGEST, _SMALLEST = 1e60, 1e-60
"""Range of counts and FLOPs; products of numbers within it are finite."""


def number(
    value: object,
    name: str,
    *,
    must: str = "a finite number",
    holds: Callable[[float], bool] = math.isfinite,
    error: Error = DataError,
    remedy: str = "",
) -> float:
    """A number, as int or float, for which `holds` is true. Raises `error` for anything else.

    name: of the argument, with its function: "predict: num_params".
    """
    read = _number(value)
    if read is None or not holds(read):
        raise refused(value, name, must, error=error, remedy=remedy)
    return read


def positive(
    value: object,
    name: str,
    *,
    must: str = "above 0 and finite",
    error: Error = DataError,
    remedy: str = "",
) -> float:
    """A number above 0 with which arithmetic stays finite."""
    read = number(
        value, name, must=must, holds=lambda one: 0 < one < math.inf, error=error, remedy=remedy
    )
    if not _SMALLEST <= read <= _LARGEST:
        raise refused(
            value, name, f"between {_SMALLEST:g} and {_LARGEST:g}", error=error, remedy=remedy
        )
    return read


def count(value: object, name: str, *, error: Error = DataError) -> float:
    """A number of params or tokens: 1 or more, whole or not."""
    must = f"from 1 to {_LARGEST:g}"
    return number(value, name, must=must, holds=lambda one: 1 <= one <= _LARGEST, error=error)


def whole(
    value: object, name: str, *, least: int = 0, most: float = 1e15, error: Error = DataError
) -> int:
    """A whole number from `least` to `most`."""

    def holds(one: float) -> bool:
        return math.isfinite(one) and least <= one <= most and one == int(one)

    beyond = "" if most >= 1e15 else f" to {most:g}"
    return int(
        number(
            value,
            name,
            must=f"a whole number from {least}{beyond or ' on'}",
            holds=holds,
            error=error,
        )
    )


def share(value: object, name: str, *, error: Error = DataError, remedy: str = "") -> float:
    """A share between 0 and 1, both excluded; "90%" is read as 0.9."""
    given = value.strip() if isinstance(value, str) else value
    if isinstance(given, str) and given.endswith("%"):
        percent = _number(given[:-1])
        given = value if percent is None else percent / 100
    must = "between 0 and 1"
    return float(
        number(given, name, must=must, holds=lambda one: 0 < one < 1, error=error, remedy=remedy)
    )


def one_of(value: object, name: str, known: Iterable[str], *, error: Error = DataError) -> str:
    """The known name that equals the value, ignoring case."""
    names = [*known]
    written = value.strip().lower() if isinstance(value, str) else None
    for one in names:
        if written == one.lower():
            return one
    raise refused(value, name, " or ".join(map(repr, names)), error=error)


def flag(value: object, name: str, *, error: Error = DataError) -> bool:
    """True or False."""
    given = plain(value)
    if not isinstance(given, bool):
        raise refused(value, name, "True or False", error=error)
    return given


def automatic(
    value: object, name: str, *, error: Error = DataError
) -> Literal["auto"] | bool | None:
    """True, False or None for off, or "auto"."""
    given = plain(value)
    if given is None or isinstance(given, bool):
        return given
    if isinstance(given, str) and given == "auto":
        return "auto"
    raise refused(value, name, '"auto", True or None', error=error)


def word(value: object, name: str, must: str = "a text", *, error: Error = DataError) -> str:
    """A text that is not empty and has no control characters."""
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise refused(value, name, must, error=error)
    return str(value)


def a_path(value: object, name: str, *, error: Error = DataError) -> str:
    """A path, as text."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if (
        not isinstance(path, str)
        or not path
        or not path.isprintable()
        or max(map(len, path.split("/"))) > LONGEST
    ):
        raise refused(value, name, "a path", error=error)
    return path


def mapping(value: object, name: str, must: str, *, error: Error = DataError) -> Mapping[Any, Any]:
    """A dict, or another mapping."""
    if not isinstance(value, Mapping):
        raise refused(value, name, must, error=error)
    return value


def several(value: object) -> TypeGuard[Iterable[Any]]:
    """True for a list, an array or a generator; False for one value, such as a number or a text."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    return getattr(value, "ndim", 1) != 0  # an array without dimensions is a number


def listed(value: object, name: str, *, error: Error = DataError) -> list[Any]:
    """The values as a list; a single value needs no list."""
    if not several(value):
        return [value]
    values = [*value]
    if not values:
        raise error(f"{name} must have at least one value, but got none.")
    return values


def refused(
    value: object, name: str, must: str, *, error: Error = DataError, remedy: str = ""
) -> IsoflopError:
    """The error for an argument that breaks its rule."""
    ending = f"; {remedy}." if remedy else "."
    return error(f"{name} must be {must}, but got {quoted(value)}{ending}")


def is_number(value: object) -> TypeGuard[Real | Decimal]:
    """True for a real number of Python or NumPy; False for a bool."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def _number(value: object) -> float | int | None:
    """The number that a value means; None for no number."""
    if type(value) is int:
        return _finite_int(value)
    if type(value) is float:
        return value
    if isinstance(value, str):
        return _of_text(value)
    value = plain(value)
    if not is_number(value):
        return None
    try:
        return int(value) if isinstance(value, int) else float(value)
    except (OverflowError, ValueError):  # a fraction or a decimal too large for a float
        return None


def plain(value: Any) -> Any:
    """A number of NumPy or torch as one of Python's; any other value unchanged."""
    is_scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_scalar and not isinstance(value, type) else value


def _finite_int(value: int) -> int | None:
    return value if abs(value) < 10**300 else None


def _of_text(text: str) -> float | None:
    match = _TEXT.fullmatch(text.strip()[:80])
    if match is None:
        return None
    unit = match[2][:1].lower()
    try:
        return float(match[1].replace(",", "").replace("_", "")) * _THOUSANDS[unit]
    except ValueError:
        return None
