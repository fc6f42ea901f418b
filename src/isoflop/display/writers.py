"""A table as text, Markdown, LaTeX or CSV.

Names of runs, sizes and metrics are foreign text: every format escapes the characters that it would
interpret.
"""

import re
from collections.abc import Mapping, Sequence

from isoflop.display.format import LONG, one_line
from isoflop.display.table import Column, Table

__all__ = ["to_csv", "to_latex", "to_markdown", "to_text"]

_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "∞": r"$\infty$", **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip
_LATEX_OPTIONS = re.compile(r"^(\s*)([\[*])")
"""At a row's start, the line break before it would take these as its argument."""
_MARKDOWN_SIGNS = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", **{sign: rf"\{sign}" for sign in "\\`*_[]|~$"},
}  # fmt: skip
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Text that a spreadsheet would compute instead of showing."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def to_csv(table: Table) -> str:
    """The table's values, unrounded, as CSV; missing values are empty.

    Text that a spreadsheet would read as a formula gets a leading apostrophe.
    """
    rows: list[Sequence[object]] = [table.names(), *table.values()]
    return "".join(",".join(map(_csv, row)) + "\n" for row in rows)


def to_text(table: Table) -> str:
    """The table as aligned plain text, numbers right-aligned."""
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
    """The table in Markdown, numbers right-aligned."""
    rules = ["---:" if column.is_number else ":---" for column in table.columns]
    heads, *cells = [
        [_signs(cell, _MARKDOWN_SIGNS) for cell in row]
        for row in [table.headings(), *table.cells()]
    ]
    rows = [heads, rules, *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def to_latex(table: Table) -> str:
    """The table in LaTeX, as booktabs sets it, with powers of ten as in print."""
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


def _csv(value: object) -> str:
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
    """A cell with LaTeX's special characters escaped, and 5.76e+23 as a power of ten."""
    escaped = re.sub("-(?=-)", "-{}", _signs(cell, _LATEX_SIGNS))  # two hyphens would be a dash
    return re.sub(r"\b(\d[\d.]*)e([+-]?)0*(\d+)\b", _latex_power, escaped)


def _signs(cell: str, spelt: Mapping[str, str]) -> str:
    return "".join(spelt.get(sign, sign) for sign in cell)


def _latex_power(match: re.Match[str]) -> str:
    factor, sign, power = match[1], match[2].replace("+", ""), match[3]
    return (
        rf"$10^{{{sign}{power}}}$" if factor == "1" else rf"${factor} \times 10^{{{sign}{power}}}$"
    )


def _align(cell: str, width: int, column: Column) -> str:
    return cell.rjust(width) if column.is_number else cell.ljust(width)
