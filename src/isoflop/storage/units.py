"""Units of a table's counts: from a cell (350M), a column's name (tokens_B), or the user.

A stated unit is used; a table whose unit would have to be guessed is refused.
"""

import re
from collections.abc import Mapping, Sequence
from shlex import quote

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line
from isoflop.errors import DataError
from isoflop.storage.numbers import LEAST_COUNT, LETTERS
from isoflop.storage.sheet import Sheet

__all__ = [
    "COUNTS",
    "parted",
    "refuse_mixed_flops",
    "refuse_mixed_units",
    "refuse_too_large",
    "unit_of_name",
]

Floats = npt.NDArray[np.float64]

COUNTS = ("params", "tokens", "flops", "compute_budget")
"""Fields that may be in thousands or larger units; a loss may not."""

_WORDS: Mapping[str, float] = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_WORD = "|".join(f"{word}s?" for word in _WORDS)

_IN_BRACKETS = re.compile(
    rf"(.*\S)\s*[(\[]\s*(?:in )?"
    rf"(?:(k|m|bn|b|g|t|p|e|z)(?:flops?)?|({_WORD})|(1e\d{{1,2}}))\s*[)\]]",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(rf"(.*\S?)[\s_-]+(?:in[\s_-]+)?({_WORD})", re.IGNORECASE)
_LAST_LETTER = re.compile(r"(.*[^\s_-])[\s_-]+(K|M|B|BN|G|T)")
_FACTOR = re.compile(r"(.*\S)\s*\*\s*(\d+(?:\.\d*)?(?:e\+?\d+)?)", re.IGNORECASE)

_GAP, _FLOPS_GAP = 30.0, 300.0
"""Factor between neighbouring values that indicates two groups of rows in two units."""
_LARGEST: Mapping[str, float] = {
    "params": 1e13,
    "tokens": 1e16,
    "flops": 1e33,
    "compute_budget": 1e33,
}


def unit_of_name(column: str) -> tuple[str, float]:
    """(a column's name without its unit, the unit); 1 for no unit.

    ("Tokens", 1e9) for Tokens_B and for Tokens (billions).
    """
    if match := _IN_BRACKETS.fullmatch(column):
        name, letter, word, power = match.groups()
        return name, LETTERS[letter.lower()] if letter else _of_word(word) if word else float(power)
    if match := _LAST_WORD.fullmatch(column):
        return match[1], _of_word(match[2])
    if match := _LAST_LETTER.fullmatch(column):
        return match[1], LETTERS[match[2].lower()]
    return column, 1.0


def parted(text: str, columns: Sequence[str]) -> tuple[str, float | None]:
    """(column, factor after it), such as ("N", 1e6) for "N * 1e6"; None for no factor."""
    product = _FACTOR.fullmatch(text)
    if text in columns or product is None:
        return text, None
    return product[1], float(product[2])


def refuse_too_large(
    values: Floats, field: str, column: str, unit: float, sheet: Sheet, *, stated: bool
) -> None:
    """Raise DataError where the unit of a column makes any of its counts impossible.

    stated: the user gave the unit; else it is in the column's name.
    """
    large = values > _LARGEST[field]
    if not large.any():
        return
    name, middle = one_line(column, 30), float(np.nanmedian(values))
    if middle > _LARGEST[field]:
        where, plain = "" if stated else " in its name", f"{name} * 1"
        raise DataError(
            f"{name!r} has the unit {unit:g}{where}, which makes the middle row {middle:.2g} "
            f"{field}; if its numbers are plain, give columns={{{field!r}: {plain!r}}} "
            f"(--column {quote(f'{field}={plain}')})."
        )
    row = int(np.argmax(large))
    raise DataError(
        f"{name!r} is in units of {unit:g}, which makes {sheet.row(row)} {values[row]:.2g} "
        f"{field}; write that row in the unit of the others, or with a unit of its own, as in 350M."
    )


def refuse_mixed_units(values: Floats, column: str, sheet: Sheet) -> None:
    """Raise DataError where some params or tokens are in millions or billions, others not.

    This holds where two or more values are below 1e5, a wide gap separates them from the others,
    and multiplying them by a million or a billion would place them among the others.
    """
    known = np.sort(values[np.isfinite(values)])
    small, large = known[known < LEAST_COUNT], known[known >= LEAST_COUNT]
    if len(small) < 2 or len(large) < 2 or large[0] < _GAP * small[-1]:
        return
    for unit in (1e6, 1e9):
        if unit * small[0] < 3 * large[-1] and large[0] < 3 * unit * small[-1]:
            raise DataError(
                f"{one_line(column, 30)} must be in one unit, but "
                f"{_rows(values < LEAST_COUNT, sheet)} have {_span(small)} and the others "
                f"{_span(large)}; write each with its unit, as in 350M and 1.3B, or all in one."
            )


def refuse_mixed_flops(flops: Floats, params: Floats, tokens: Floats, sheet: Sheet) -> None:
    """Raise DataError where FLOPs over 6·N·D form two distant groups, as no convention does."""
    with np.errstate(all="ignore"):
        ratio = flops / (6 * params * tokens)
    known = np.sort(ratio[np.isfinite(ratio) & (ratio > 0)])
    if len(known) < 4:
        return
    steps = known[1:] / known[:-1]
    widest = int(np.argmax(steps))
    low, high = known[: widest + 1], known[widest + 1 :]
    if steps[widest] < _FLOPS_GAP or min(len(low), len(high)) < 2:
        return
    few = ratio >= high[0] if len(high) < len(low) else ratio <= low[-1]
    odd, usual = (high, low) if len(high) < len(low) else (low, high)
    raise DataError(
        f"FLOPs, params and tokens must be in one unit each, but FLOPs are about "
        f"{np.median(odd):.2g} times 6·N·D in {_rows(few, sheet)} and {np.median(usual):.2g} times "
        "in the others; convert them to one unit."
    )


def _of_word(word: str) -> float:
    return _WORDS[word.lower().removesuffix("s")]


def _rows(chosen: npt.NDArray[np.bool_], sheet: Sheet, most: int = 3) -> str:
    rows = [str(sheet.rows[index]) for index in np.flatnonzero(chosen).tolist()]
    shown = rows[:most] + ([f"{len(rows) - most} more"] if len(rows) > most else [])
    return f"rows {', '.join(shown[:-1])} and {shown[-1]} of {one_line(sheet.source, 30)}"


def _span(values: Floats) -> str:
    return f"{values[0]:.3g} to {values[-1]:.3g}"
