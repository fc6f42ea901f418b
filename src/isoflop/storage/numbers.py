"""Cells as numbers: plain ones at once, those of people (350M, 1,300,000, 3,45) one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoflop.storage.notation import parse
from isoflop.storage.sheet import BLOCK

__all__ = ["LEAST_COUNT", "LETTERS", "Read", "holds_counts", "number_of", "read_numbers"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LETTERS: Mapping[str, float] = {
    "k": 1e3, "m": 1e6, "b": 1e9, "bn": 1e9, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21,
}  # fmt: skip
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "-")
_WORDS = ("inf", "+inf", "-inf", "infinity", "-infinity")

LEAST_COUNT = 1e5
"""Params and tokens in millions or billions lie below it, and plain counts above it."""


@dataclass(frozen=True)
class Read:
    """A column as numbers in units of one, NaN where a cell is empty or text."""

    values: Floats
    own: Bools
    """Cells with a unit of their own, such as 350M."""
    is_text: Bools


def read_numbers(
    cells: Sequence[object], unit: float = 1.0, decimal: str = ".", *, is_count: bool
) -> Read:
    """Numbers of a column; unit: factor of those without a unit of their own."""
    values, own, is_text = (
        np.full(len(cells), np.nan),
        *(np.zeros(len(cells), dtype=bool) for _ in range(2)),
    )
    for start in range(0, len(cells), BLOCK):
        block = cells[start : start + BLOCK]
        plain = _plain_numbers(block) if decimal == "." else None
        if plain is not None:
            values[start : start + len(block)] = plain
            continue
        for row, cell in enumerate(block, start):
            number = number_of(cell, decimal, is_count=is_count)
            if number is not None:
                values[row], own[row] = number
            else:
                is_text[row] = not _is_empty(cell)
    values[~own] *= unit
    return Read(values, own, is_text)


def _plain_numbers(cells: Sequence[object]) -> list[float] | None:
    """Cells as numbers where all are plain; None where one is not."""
    try:
        numbers = [float(cell) for cell in cells]  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if _has_odd(cells) else numbers


def _has_odd(cells: Sequence[object]) -> bool:
    """Whether Python reads a cell as a number that people would not: True, or 1_3."""
    try:
        return "_" in "".join(cells)  # type: ignore[arg-type]
    except TypeError:
        return any(
            isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell) for cell in cells
        )


def number_of(cell: object, decimal: str = ".", *, is_count: bool) -> tuple[float, bool] | None:
    """(number in a cell, whether the cell has a unit as in 350M); None where it is no number."""
    if not isinstance(cell, str):
        return _value(cell)
    number = parse(cell)
    if number is None:
        word = cell.strip().lower()
        return (float(word), False) if word in _WORDS else None
    value = number.value(decimal)
    if value is None or (number.letter and not is_count):
        return None
    return (value * LETTERS[number.letter.lower()], True) if number.letter else (value, False)


def _value(cell: object) -> tuple[float, bool] | None:
    if cell is None or isinstance(cell, bool):
        return None
    try:
        return float(cell), False  # type: ignore[arg-type]
    except OverflowError:  # a whole number of more than 308 digits
        return np.inf, False
    except (TypeError, ValueError):
        return None


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _EMPTY)


def holds_counts(cells: Sequence[object], unit: float) -> bool:
    """Whether cells can be params or tokens.

    Most must be numbers, not all equal, with a median too large for a width or a depth.
    """
    values = read_numbers(cells, unit, is_count=True).values
    known = values[~np.isnan(values)]
    differ = len(np.unique(known)) >= min(len(cells), 2)
    return differ and 2 * len(known) > len(cells) and float(np.median(known)) >= LEAST_COUNT
