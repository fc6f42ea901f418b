"""Arguments of public functions, read and checked in one place: numbers, whole numbers, shares, names, lists.

A value whose meaning is plain is taken: 7e10, "70B", Decimal("1e21"), a number of NumPy or torch. Any
other is refused in one sentence with the argument's name, what it must be, and what it was.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from isoflop.display.format import quoted
from isoflop.errors import DataError, IsoflopError

__all__ = [
    "a_path",
    "count",
    "flag",
    "is_number",
    "listed",
    "mapping",
    "number",
    "one_of",
    "positive",
    "refused",
    "several",
    "share",
    "whole",
    "word",
]

Error = Callable[[str], IsoflopError]

_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18}
_WRITTEN = re.compile(
    r"([-+]?(?:\d{1,3}(?:,\d{3})+|\d[\d_]*)?(?:\.\d*)?(?:e[-+]?\d+)?)\s*"
    r"(|k|m|b|bn|g|t|p|e|thousand|million|billion|trillion)"
    r"\s*(?:params?|parameters?|tokens?|flops?|bytes?|images?)?",
    re.IGNORECASE,
)
LONGEST = 255
"""Characters of a file's name, as file systems have it."""
_LARGEST, _SMALLEST = 1e60, 1e-60
"""No count or FLOPs of this world lie beyond them, and products of numbers within them are finite."""


def number(
    value: Any,
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
    found = _number(value)
    if found is None or not holds(found):
        raise refused(value, name, must, error=error, remedy=remedy)
    return found


def positive(
    value: Any,
    name: str,
    *,
    must: str = "above 0 and finite",
    error: Error = DataError,
    remedy: str = "",
) -> float:
    """A number above 0 with which arithmetic stays finite."""
    found = number(
        value, name, must=must, holds=lambda one: 0 < one < math.inf, error=error, remedy=remedy
    )
    if not _SMALLEST <= found <= _LARGEST:
        raise refused(
            value, name, f"between {_SMALLEST:g} and {_LARGEST:g}", error=error, remedy=remedy
        )
    return found


def count(value: Any, name: str, *, error: Error = DataError) -> float:
    """A number of params or tokens: 1 or more, whole or not."""
    must = f"from 1 to {_LARGEST:g}"
    return number(value, name, must=must, holds=lambda one: 1 <= one <= _LARGEST, error=error)


def whole(
    value: Any, name: str, *, least: int = 0, most: float = 1e15, error: Error = DataError
) -> int:
    """A whole number from `least` on."""

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


def share(value: Any, name: str, *, error: Error = DataError, remedy: str = "") -> float:
    """A share between 0 and 1, both excluded; "90%" is one too."""
    plain = value.strip() if isinstance(value, str) else value
    if isinstance(plain, str) and plain.endswith("%"):
        percent = _number(plain[:-1])
        plain = value if percent is None else percent / 100
    must = "between 0 and 1"
    return float(
        number(plain, name, must=must, holds=lambda one: 0 < one < 1, error=error, remedy=remedy)
    )


def one_of(value: Any, name: str, known: Iterable[str], *, error: Error = DataError) -> str:
    """The name among those that are known, whatever its case."""
    names = [*known]
    written = value.strip().lower() if isinstance(value, str) else None
    for one in names:
        if written == one.lower():
            return one
    raise refused(value, name, " or ".join(map(repr, names)), error=error)


def flag(value: Any, name: str, *, error: Error = DataError) -> bool:
    """True or False."""
    plain = value.item() if _is_scalar(value) else value
    if not isinstance(plain, bool):
        raise refused(value, name, "True or False", error=error)
    return plain


def word(value: Any, name: str, must: str = "a text", *, error: Error = DataError) -> str:
    """A text that is not empty and has no control characters."""
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise refused(value, name, must, error=error)
    return str(value)


def a_path(value: Any, name: str, *, error: Error = DataError) -> str:
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


def mapping(value: Any, name: str, must: str, *, error: Error = DataError) -> Mapping[Any, Any]:
    """A dict, or another mapping."""
    if not isinstance(value, Mapping):
        raise refused(value, name, must, error=error)
    return value


def several(value: Any) -> bool:
    """True for several values, as in a list, an array or a generator; False for one, such as a number or a phrase."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return False
    return getattr(value, "ndim", 1) != 0  # an array without dimensions is a number


def listed(value: Any, name: str, *, error: Error = DataError) -> list[Any]:
    """The values one by one; a single one needs no list."""
    if not several(value):
        return [value]
    values = [*value]
    if not values:
        raise error(f"{name} must have at least one value, but got none.")
    return values


def refused(
    value: Any, name: str, must: str, *, error: Error = DataError, remedy: str = ""
) -> IsoflopError:
    """What is raised for an argument that breaks its rule."""
    ending = f"; {remedy}." if remedy else "."
    return error(f"{name} must be {must}, but got {quoted(value)}{ending}")


def is_number(value: Any) -> bool:
    """True for a real number of Python or NumPy, which a truth value is not."""
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def _number(value: Any) -> float | int | None:
    """The number that is meant; None where none is."""
    if type(value) in (int, float):
        return _finite_int(value) if type(value) is int else value
    if isinstance(value, str):
        return _of_text(value)
    if _is_scalar(value):
        value = value.item()
    if not is_number(value):
        return None
    try:
        return int(value) if isinstance(value, int) else float(value)
    except (OverflowError, ValueError):  # a fraction or a decimal that no float holds
        return None


def _is_scalar(value: Any) -> bool:
    """True for a number of NumPy or torch."""
    return (
        getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not isinstance(value, type)
    )


def _finite_int(value: int) -> int | None:
    return value if abs(value) < 10**300 else None


def _of_text(written: str) -> float | None:
    found = _WRITTEN.fullmatch(written.strip()[:80])
    if found is None:
        return None
    unit = found[2][:1].lower()
    try:
        return float(found[1].replace(",", "").replace("_", "")) * _THOUSANDS[unit]
    except ValueError:
        return None
