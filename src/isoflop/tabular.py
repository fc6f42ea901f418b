"""Tabular: base of values with a table; and a table as a data frame."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from isoflop.display.table import Table
from isoflop.display.writers import to_latex, to_markdown
from isoflop.extras import load_extra

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tabular", "to_frame"]


class Tabular(ABC):
    """Base of values with a table."""

    @abstractmethod
    def table(self) -> Table:
        """The table's columns and rows."""

    def to_frame(self) -> "pd.DataFrame":
        """The table's values, unrounded, as a pandas DataFrame.

        Raises InstallError where pandas is not installed.
        """
        return to_frame(self.table())

    def to_markdown(self) -> str:
        """The table in Markdown, with formatted values."""
        return to_markdown(self.table())

    def to_latex(self) -> str:
        """The table in LaTeX, as booktabs sets it."""
        return to_latex(self.table())


def to_frame(table: Table) -> "pd.DataFrame":
    """The table's values, unrounded, as a pandas DataFrame.

    Raises InstallError where pandas is not installed.
    """
    pandas = load_extra("pandas", "tables")  # a third of a second, and no other format needs it
    frame: pd.DataFrame = pandas.DataFrame(table.values(), columns=table.names())
    return frame
