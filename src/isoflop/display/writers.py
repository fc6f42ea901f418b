"""A table as text, Markdown, LaTeX, CSV or a data frame; and values that are shown so.

Names of runs, sizes and metrics are others' words: in each form they are read as words, whatever signs they hold.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isoflop.display.format import LONG, one_line
from isoflop.display.table import Column, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tabular", "to_csv", "to_frame", "to_latex", "to_markdown", "to_text"]

_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "∞": r"$\infty$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip
_LATEX_OPTIONS = re.compile(r"^(\s*)([\[*])")
"""At a row's start the line break before it takes these for its own argument."""
_MARKDOWN_SIGNS = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", **{sign: rf"\{sign}" for sign in "\\`*_[]|~$"},
}  # fmt: skip
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet computes, and may run, in place of showing it."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Tabular(ABC):
    """A value that has a table."""

    @abstractmethod
    def table(self) -> Table:
        """The table's columns and rows."""

    def to_frame(self) -> "pd.DataFrame":
        """The table's values, unrounded, as a pandas DataFrame."""
        return to_frame(self.table())

    def to_markdown(self) -> str:
        """The table in Markdown, as people read it."""
        return to_markdown(self.table())

    def to_latex(self) -> str:
        """The table in LaTeX, as booktabs sets it."""
        return to_latex(self.table())


def to_frame(table: Table) -> "pd.DataFrame":
    """The table's values, unrounded, as a pandas DataFrame."""
    import pandas as pd  # a third of a second that no other form needs

    return pd.DataFrame(table.values(), columns=table.names())


def to_csv(table: Table) -> str:
    """The table's values, unrounded, as CSV; empty where there is none.

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    return "".join(",".join(map(_csv, row)) + "\n" for row in [table.names(), *table.values()])


def to_text(table: Table) -> str:
    """The table as aligned plain text, numbers to the right."""
    rows = [table.headings(), *table.cells()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            _align(cell, width, column)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def to_markdown(table: Table) -> str:
    """The table in Markdown, numbers to the right."""
    rules = ["---:" if column.is_number else ":---" for column in table.columns]
    heads, *cells = [
        [_signs(cell, _MARKDOWN_SIGNS) for cell in row]
        for row in [table.headings(), *table.cells()]
    ]
    rows = [heads, rules, *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def to_latex(table: Table) -> str:
    """The table in LaTeX, as booktabs sets it; powers of ten as they are written in print."""
    kinds = "".join("r" if column.is_number else "l" for column in table.columns)
    rows = [_latex_row(row) for row in [table.headings(), *table.cells()]]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _csv(value: Any) -> str:
    """A value as a cell of a CSV file."""
    if not isinstance(value, str):
        return "" if value is None else _quoted(one_line(value, 10 * LONG))
    words = one_line(value, 10 * LONG)
    return _quoted(f"'{words}" if _FORMULA.match(words) and not _NUMBER.fullmatch(words) else words)


def _quoted(words: str) -> str:
    escaped = words.replace('"', '""')
    return f'"{escaped}"' if "," in words or '"' in words else words


def _latex_row(row: Sequence[str]) -> str:
    first, *others = map(_latex, row)
    return " & ".join([_LATEX_OPTIONS.sub(r"\1{\2}", first), *others]) + r" \\"


def _latex(cell: str) -> str:
    """A cell with LaTeX's own signs made harmless, and 5.76e+23 as a power of ten."""
    escaped = re.sub("-(?=-)", "-{}", _signs(cell, _LATEX_SIGNS))  # two hyphens would be a dash
    return re.sub(r"\b(\d[\d.]*)e([+-]?)0*(\d+)\b", _latex_power, escaped)


def _signs(cell: str, spelt: Mapping[str, str]) -> str:
    return "".join(spelt.get(sign, sign) for sign in cell)


def _latex_power(found: re.Match[str]) -> str:
    factor, sign, power = found[1], found[2].replace("+", ""), found[3]
    return (
        rf"$10^{{{sign}{power}}}$" if factor == "1" else rf"${factor} \times 10^{{{sign}{power}}}$"
    )


def _align(cell: str, width: int, column: Column) -> str:
    return cell.rjust(width) if column.is_number else cell.ljust(width)
