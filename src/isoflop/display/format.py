"""Numbers and tables as people read them: 73.2B, 5.76e+23, 3.1 %, aligned columns."""

import math
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from html import escape

__all__ = [
    "LONG",
    "align_columns",
    "format_bullets",
    "format_change",
    "format_count",
    "format_duration",
    "format_flops",
    "format_html",
    "format_integer",
    "format_interval",
    "format_items",
    "format_loss",
    "format_memory",
    "format_money",
    "format_number",
    "format_percent",
    "format_replacement",
    "join_words",
    "one_line",
    "quoted",
]

LONG = 300
"""Largest number of characters of foreign text, where there is room for it."""

_WRITTEN = (str, bytes, int, float, list, tuple, dict, set)
"""Types of values whose beginning is shown where all would be too long."""
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def format_number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits, trailing zeros kept: 2.310, 0.0125, 4.5e-07."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "unknown")
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if -4 <= exponent < 6:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}"
    return f"{value:.{digits - 1}e}"


def format_count(value: float, digits: int = 3) -> str:
    """A count of params or tokens: 950, 1.00k, 73.2B, 1.31T, 4.0e+15 from there on."""
    if not math.isfinite(value) or abs(value) >= 1e15:
        return f"{value:.{digits - 1}e}" if math.isfinite(value) else format_number(value)
    rounded = abs(float(f"{value:.{digits - 1}e}"))  # 999,999 is 1.00M, not 1000k
    for unit, letter in _UNITS:
        if rounded >= unit:
            return f"{format_number(value / unit, digits)}{letter}"
    return f"{value:.0f}" if value == round(value) else format_number(value, digits)


def format_memory(num_bytes: float, digits: int = 2) -> str:
    """Bytes in thousands of their unit: 4.4 kB, 80 GB."""
    if num_bytes < 1e3:
        return f"{num_bytes:.0f} B"
    shown = format_count(num_bytes, digits)
    return f"{shown[:-1]} {shown[-1].replace('B', 'G')}B" if shown[-1].isalpha() else f"{shown} B"


def format_flops(value: float, digits: int = 3) -> str:
    """FLOPs, always with an exponent and no more digits than needed: 1e+21, 5.76e+23."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e") if math.isfinite(value) else ("", "")
    if not mantissa:
        return format_number(value)
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{exponent}"


def format_percent(share: float, digits: int = 2) -> str:
    """A share as percent: 0.0213 -> 2.1 %."""
    return f"{format_number(100 * share, digits)} %"


def format_change(share: float) -> str:
    """A relative change, as a factor where percents mislead: +39 %, -12 %, x3.1, x7,400, ÷250."""
    factor = 1 + share
    if not 0 < factor < math.inf:
        return "unknown"
    if 0.5 <= factor <= 2:
        return f"{'+' if share >= 0 else '-'}{format_percent(abs(share))}"
    sign, times = ("x", factor) if factor > 1 else ("÷", 1 / factor)
    if times >= 1e6:
        return f"more than {sign}1,000,000"
    return (
        f"{sign}{float(f'{times:.1e}'):,.0f}" if times >= 10 else f"{sign}{format_number(times, 2)}"
    )


def format_replacement(then: float, now: float) -> str:
    """A count beside the present one: 75.9B instead of 124B, -39 %.

    "undetermined" if the other count is 0 or infinite.
    """
    if not 0 < then < math.inf:
        return "undetermined"
    if not 0 < now < math.inf:
        return format_count(then)
    return f"{format_count(then)} instead of {format_count(now)}, {format_change(then / now - 1)}"


def format_integer(value: float) -> str:
    """A number to the unit: 1,755; with an exponent from 1e15 on."""
    return f"{value:,.0f}" if abs(value) < 1e15 else format_number(value)


def format_money(amount: float, currency: str = "$") -> str:
    """An amount of money: $1,440, to the cent below $100, and "less than $0.01" below a cent."""
    if 0 < amount < 0.01:
        return f"less than {currency}0.01"
    return f"{currency}{amount:,.2f}" if amount < 100 else f"{currency}{format_integer(amount)}"


def format_duration(seconds: float) -> str:
    """A time in its natural unit: 3.2 s, 4.1 min, 2.5 h, 3.0 days."""
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{format_number(seconds / unit, 2)} {name}"
    return f"{format_number(seconds, 2)} s"


def format_items(number: int, item: str) -> str:
    """A number of things: 1 run, 28 runs."""
    return f"{number} {item}{'' if number == 1 else 's'}"


def format_interval(low: float, high: float, write: Callable[[float], str] = format_count) -> str:
    """Two ends of an interval: 61.0B to 88.4B."""
    return f"{write(low)} to {write(high)}"


def format_loss(value: float) -> str:
    """A loss in a column: three decimals, so that points line up; more for small losses."""
    if not math.isfinite(value):
        return "none"
    return f"{value:.3f}" if abs(value) >= 0.1 else format_number(value)


def join_words(words: Sequence[str], most: int = 6) -> str:
    """Words as prose: a, b and c; beyond `most` the rest is counted."""
    shown = (
        [*words] if len(words) <= most else [*words[: most - 1], f"{len(words) - most + 1} more"]
    )
    return (
        " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part) if shown else ""
    )


def one_line(words: object, most: int = 120) -> str:
    """Foreign text in one line of at most `most` characters, with visible control characters."""
    beginning = str(words)[: most + 1]
    shown = "".join(sign if sign.isprintable() else _visible(sign) for sign in beginning)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _visible(sign: str) -> str:
    return " " if unicodedata.category(sign) == "Zs" else ascii(sign)[1:-1]


def quoted(value: object, most: int = 60) -> str:
    """A value as in code, in one short line; its type where that says more."""
    try:
        written = repr(value)
    except Exception:  # a class of someone else's, or a number of more digits than Python writes
        written = ""
    is_long = len(written) > most and not isinstance(value, _WRITTEN)
    if not written or is_long or "\n" in written or written.startswith("<"):
        return f"a value of type {one_line(type(value).__name__, most)}"
    return one_line(written, most)


def align_columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows of cells as aligned text, two blanks between columns, no blanks at line ends."""
    rows = [[one_line(cell, LONG) for cell in row] for row in rows]
    widths = [
        max(len(row[i]) for row in rows if i < len(row))
        for i in range(max(map(len, rows), default=0))
    ]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        for row in rows
    )
    return "\n".join(indent + line.rstrip() for line in lines)


def format_bullets(sentences: Sequence[str], width: int = 110) -> str:
    """Sentences as a list, wrapped."""
    wrap = textwrap.TextWrapper(
        width=width, initial_indent="  - ", subsequent_indent="    ", break_long_words=False
    )
    return "\n".join(wrap.fill(one_line(sentence, 10 * LONG)) for sentence in sentences)


def format_html(
    heading: str, tables: Sequence[Sequence[Sequence[str]]], sentences: Sequence[str] = ()
) -> str:
    """A heading, tables of cells and sentences as HTML for a notebook; every word is escaped."""
    drawn = ["<table>" + "".join(map(_html_row, rows)) + "</table>" for rows in tables if rows]
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return (
        f"<p><b>{escape(heading)}</b></p>"
        + "".join(drawn)
        + (f"<ul>{listed}</ul>" if listed else "")
    )


def _html_row(cells: Sequence[str]) -> str:
    return (
        "<tr>"
        + "".join(f'<td style="text-align: left">{escape(cell)}</td>' for cell in cells)
        + "</tr>"
    )
