"""A table as text, Markdown, LaTeX, CSV or a data frame; and values that are shown so."""

import csv
import re
from abc import ABC, abstractmethod
from io import StringIO
from typing import TYPE_CHECKING

from isoflop.display.table import Column, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tabular", "to_csv", "to_frame", "to_latex", "to_markdown", "to_text"]

_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "∞": r"$\infty$",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


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
    """The table's values, unrounded, as CSV; empty where there is none."""
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table.names())
    writer.writerows([["" if value is None else value for value in row] for row in table.values()])
    return lines.getvalue()


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
    rows = [table.headings(), rules, *table.cells()]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def to_latex(table: Table) -> str:
    """The table in LaTeX, as booktabs sets it; powers of ten as they are written in print."""
    kinds = "".join("r" if column.is_number else "l" for column in table.columns)
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in [table.headings(), *table.cells()]]
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


def _latex(cell: str) -> str:
    """A cell with LaTeX's own signs made harmless, and 5.76e+23 as a power of ten."""
    escaped = "".join(_LATEX_SIGNS.get(sign, sign) for sign in cell)
    return re.sub(r"\b(\d[\d.]*)e([+-]?)0*(\d+)\b", _latex_power, escaped)


def _latex_power(found: re.Match[str]) -> str:
    factor, sign, power = found[1], found[2].replace("+", ""), found[3]
    return (
        rf"$10^{{{sign}{power}}}$" if factor == "1" else rf"${factor} \times 10^{{{sign}{power}}}$"
    )


def _align(cell: str, width: int, column: Column) -> str:
    return cell.rjust(width) if column.is_number else cell.ljust(width)
