"""Notation of numbers in a column: the sign before the decimals, and the signs between thousands.

"1,300" is 1300 in one country and 1.3 in another, and so is "1.300". The other cells of the column,
or the other columns of the table, decide between the two; without such cells the table is refused.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.notes.note import Note
from isoflop.storage.sheet import BLOCK, Sheet

__all__ = ["Numbers", "Signs", "Written", "decimal_signs", "parse", "signs_of"]

Sign = Literal[".", ","]
OTHER: Mapping[str, Sign] = {".": ",", ",": "."}

_SAME = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2019": "'"})
_CELL = re.compile(
    r"(?P<minus>[-+]?)(?P<body>\d[\d.,' _]*|[.,]\d+)(?P<power>e[-+]?\d+)? ?"
    r"(?P<letter>k|m|bn|b|g|t|p|e|z)?",
    re.IGNORECASE,
)
_ONE = re.compile(r"(\d*)([.,])(\d*)")
_BOTH = re.compile(r"\d{1,3}(?:,\d{3})+(\.)\d*|\d{1,3}(?:\.\d{3})+(,)\d*")
_MANY = re.compile(r"\d{1,3}([.,])\d{3}(?:\1\d{3})+")
_SPACED = re.compile(r"\d{1,3}([' _])\d{3}(?:\1\d{3})*(?:([.,])\d*)?")
_UNSURE = re.compile(r"^\s*[-+]?[1-9]\d{0,2}[.,]\d{3}[ a-z]*$", re.IGNORECASE | re.MULTILINE)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}")


@dataclass(frozen=True)
class Written:
    """The parts of a number in a cell."""

    minus: str
    body: str
    power: str
    letter: str
    sign: str
    """The sign before its decimals; empty for none."""
    sure: bool
    """Whether that sign can only be before decimals: 1.300 and 1,300 may be thousands."""

    def value(self, decimal: str) -> float | None:
        """The number without its letter; None where another sign is before its decimals."""
        if self.sure and self.sign not in ("", decimal):
            return None
        digits = re.sub(rf"[' _{re.escape(OTHER[decimal])}]", "", self.body).replace(decimal, ".")
        return float(f"{self.minus}{digits}{self.power}")


@dataclass
class Signs:
    """Evidence for the sign before a column's decimals: each sign with its first row."""

    sure: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)
    """Rows in which the sign may also separate thousands."""
    plain: dict[str, int] = field(default_factory=dict)
    """Unsure rows whose cell has no letter, unlike 1.300B."""
    padded: dict[str, int] = field(default_factory=dict)
    """Plain rows that end in zeros, as the shortest decimals never do."""
    short: set[str] = field(default_factory=set)
    """Signs before other numbers of decimals than three: the format is not a fixed one."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: its name, its cells, and the kind of its values."""

    name: str
    cells: Sequence[object]
    is_count: bool
    """Whether thousands and more are usual, as for params and not for a loss."""
    has_unit: bool
    """Whether its numbers are in a unit, so that decimals are usual."""


def parse(text: str) -> Written | None:
    """The parts of a number as people write it; None for any other text."""
    cell = _CELL.fullmatch(text.strip().translate(_SAME))
    if cell is None:
        return None
    body, power = cell["body"].rstrip(" "), cell["power"] or ""
    sign = _sign(body, power)
    if sign is None:
        return None
    return Written(cell["minus"], body, power, cell["letter"] or "", *sign)


def _sign(body: str, power: str) -> tuple[str, bool] | None:
    """(the sign before the decimals, whether it is sure); None for text that is no number."""
    if body.isdecimal():
        return "", True
    if one := _ONE.fullmatch(body):
        whole, sign, decimals = one.groups()
        return sign, bool(power) or len(decimals) != 3 or not _THOUSANDS.fullmatch(whole)
    if both := _BOTH.fullmatch(body):
        return both[1] or both[2], True
    if many := _MANY.fullmatch(body):
        return OTHER[many[1]], True
    if spaced := _SPACED.fullmatch(body):
        return spaced[2] or "", True
    return None


def signs_of(cells: Sequence[object], *, is_count: bool) -> Signs:
    """Evidence of a column's cells. In a loss, a point is always before decimals."""
    signs = Signs()
    for start in range(0, len(cells), BLOCK):
        block = cells[start : start + BLOCK]
        if _has_news(block, signs, is_count):
            for row, number in _numbers(block, start):
                _note(signs, row, number, is_count)
    return signs


def _has_news(block: Sequence[object], signs: Signs, is_count: bool) -> bool:
    try:
        text = "\n".join(block)  # type: ignore[arg-type]
    except TypeError:
        text = "\n".join(cell for cell in block if isinstance(cell, str))
    is_new = any(sign in text and sign not in signs.sure for sign in OTHER)
    return is_new or (is_count and _UNSURE.search(text) is not None)


def _numbers(block: Sequence[object], start: int) -> Iterator[tuple[int, Written]]:
    for row, cell in enumerate(block, start):
        number = parse(cell) if isinstance(cell, str) else None
        if number is not None and number.sign:
            yield row, number


def _note(signs: Signs, row: int, number: Written, is_count: bool) -> None:
    if number.sure or (number.sign == "." and not is_count):
        signs.sure.setdefault(number.sign, row)
        if not (number.power or number.letter) and len(number.body.rpartition(number.sign)[2]) != 3:
            signs.short.add(number.sign)
        return
    signs.unsure.setdefault(number.sign, row)
    if not number.letter:
        signs.plain.setdefault(number.sign, row)
        if number.body.endswith("0"):
            signs.padded.setdefault(number.sign, row)


def decimal_signs(
    columns: Sequence[Numbers], sheet: Sheet
) -> tuple[dict[str, str], tuple[Note, ...]]:
    """(name of each column -> the sign before its decimals, notes on the reading).

    Raises DataError where a column uses two notations, or can be read in two ways.
    """
    signs = {column.name: signs_of(column.cells, is_count=column.is_count) for column in columns}
    shown = {sign for evidence in signs.values() for sign in evidence.sure}
    chosen = {column.name: _chosen(column, signs[column.name], shown, sheet) for column in columns}
    readings = [
        reading
        for column in columns
        if (reading := _reading(column, signs[column.name], chosen[column.name], shown))
    ]
    if not readings:
        return chosen, ()
    text = f"Numbers of the table were read as follows: {', '.join(readings[:4])}."
    return chosen, (Note("table-numbers", text),)


def _chosen(column: Numbers, signs: Signs, shown: Collection[str], sheet: Sheet) -> str:
    if len(signs.sure) == 2:
        raise _two_ways(column, signs.sure, sheet)
    if signs.sure:
        (decimal,) = signs.sure
        odd = signs.padded if column.has_unit else signs.plain
        if decimal in signs.short and decimal in odd:
            raise _unclear(column, odd[decimal], sheet)
        return decimal
    if not signs.unsure:
        return "."
    (sign, row), *more = signs.unsure.items()
    if more:
        raise _two_ways(column, signs.unsure, sheet)
    known = shown or (
        {"," if sheet.delimiter == ";" else "."}
        if _is_usual(column, sign, sheet.delimiter)
        else set()
    )
    if column.is_count and known == {OTHER[sign]}:
        return OTHER[sign]
    if known == {sign} and _may_have_decimals(column, signs, sign):
        return sign
    raise _unclear(column, row, sheet)


def _is_usual(column: Numbers, sign: str, delimiter: str) -> bool:
    """Whether a table without other decimals is read in the notation of programs.

    That is a point before decimals and commas between thousands. Where semicolons separate the
    cells, decimal commas are likely, and only a loss is read, with a comma before its decimals.
    """
    return delimiter != ";" if column.is_count else sign == "," and delimiter == ";"


def _may_have_decimals(column: Numbers, signs: Signs, sign: str) -> bool:
    """Whether three decimals are possible: in a loss, or in all numbers of a column in millions."""
    if not column.is_count:
        return True
    has_unit = column.has_unit or sign not in signs.plain
    return has_unit and not any(map(_is_whole, column.cells))


def _is_whole(cell: object) -> bool:
    """Whether a cell has no decimals: beside it, three digits after a sign may be thousands."""
    number = parse(cell) if isinstance(cell, str) else None
    return number is not None and not (number.sign or number.power or number.letter)


def _reading(column: Numbers, signs: Signs, decimal: str, shown: Collection[str]) -> str:
    """The reading of a cell with a decimal comma or an ambiguous sign; empty for other columns."""
    row = _doubtful(signs, decimal, shown)
    if row is None:
        return ""
    cell = str(column.cells[row])
    number = parse(cell)
    value = None if number is None else number.value(decimal)
    if value is None:
        return ""
    return f"{quoted(cell, 20)} in {one_line(column.name, 30)} as {value:,.12g}"


def _doubtful(signs: Signs, decimal: str, shown: Collection[str]) -> int | None:
    """The row whose reading is worth a note; None for a table in the notation of programs."""
    thousands = OTHER[decimal]
    if decimal in signs.unsure and decimal in signs.short:
        return signs.unsure[decimal]
    if thousands in signs.unsure and not signs.sure and decimal not in shown:
        return signs.unsure[thousands]
    rows = [*signs.sure.values(), *signs.unsure.values()]
    return rows[0] if rows and decimal == "," else None


def _two_ways(column: Numbers, rows: Mapping[str, int], sheet: Sheet) -> DataError:
    point, comma = (
        f"{quoted(column.cells[rows[sign]], 20)} in row {sheet.rows[rows[sign]]}" for sign in ".,"
    )
    return DataError(
        f"{one_line(column.name, 30)} must have one sign before decimals, but "
        f"{one_line(sheet.source, 30)} has {point} and {comma}; write the column in one way, "
        "without signs between thousands."
    )


def _unclear(column: Numbers, row: int, sheet: Sheet) -> DataError:
    cell = str(column.cells[row]).strip()
    number = parse(cell)
    readings = [
        f"{value:,.12g}" for sign in ".," if number and (value := number.value(sign)) is not None
    ]
    return DataError(
        f"{one_line(column.name, 30)} has {quoted(cell, 20)} in {one_line(sheet.row(row), 50)}, "
        f"which may be {' or '.join(readings)}; write the column without signs between thousands, "
        "as in 1300 or 1.3e3."
    )
