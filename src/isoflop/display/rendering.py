"""A table as HTML or as a rich table."""

from typing import TYPE_CHECKING

from isoflop.display.html import tag
from isoflop.display.table import Table

if TYPE_CHECKING:
    import rich.table

__all__ = ["to_html", "to_rich"]


def to_html(table: Table) -> str:
    """The table in plain HTML, for a notebook; text is escaped."""
    heads = tag("tr", *[tag("th", name) for name in table.headings()])
    aligned = [
        "text-align: right" if column.is_number else "text-align: left" for column in table.columns
    ]
    rows = [
        tag("tr", *[tag("td", cell, style=style) for cell, style in zip(row, aligned, strict=True)])
        for row in table.cells()
    ]
    return tag("table", tag("thead", heads), tag("tbody", *rows))


def to_rich(table: Table, title: str | None = None) -> "rich.table.Table":
    """The table for a rich console, with one rule under the headings."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False
    )
    for column in table.columns:
        shown.add_column(
            column.heading, justify="right" if column.is_number else "left", header_style="dim"
        )
    for row in table.cells():
        shown.add_row(*map(Text, row))  # Text: a run named "[red]" is shown, not obeyed
    return shown
