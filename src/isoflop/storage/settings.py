"""Settings of a table's runs (learning rate, batch, seed, passes over the data), where it has them.

They are read leniently: a cell that is no number leaves the setting of its run unknown.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from isoflop.errors import DataError
from isoflop.storage.columns import Column
from isoflop.storage.numbers import read_numbers
from isoflop.storage.sheet import Sheet

__all__ = ["RowSettings", "Setting", "settings_of", "vocabulary_of", "worse_than_guessing"]

Floats = npt.NDArray[np.float64]
Setting = float | int | str

_COUNTS = ("batch", "unique_tokens", "vocabulary")
_WHOLE = ("batch", "seed")
_MOST_SEED = 2.0**53
_ROUNDING = 1e-3
_MOST_ABOVE = 0.5
"""Share of losses worse than guessing from which on their unit is wrong, not their training."""


class RowSettings:
    """The settings of each row, as arguments of a `RunSpec`, and the vocabulary, where known."""

    def __init__(self, columns: Mapping[str, Floats], words: Mapping[str, list[str]]) -> None:
        self._columns, self._words = columns, words

    def rows(self, start: int, stop: int) -> list[dict[str, Setting]]:
        """The known settings of some rows."""
        rows: list[dict[str, Setting]] = [{} for _ in range(start, stop)]
        for name, values in self._columns.items():
            for row, value in zip(rows, values[start:stop].tolist(), strict=True):
                if math.isfinite(value):
                    row[name] = int(value) if name in _WHOLE else value
        for name, words in self._words.items():
            for row, word in zip(rows, words[start:stop], strict=True):
                if word:
                    row[name] = word
        return rows

    def __bool__(self) -> bool:
        return bool(self._columns or self._words)


def settings_of(
    sheet: Sheet,
    chosen: Mapping[str, Column],
    numbers: Mapping[str, Floats],
    decimal: str,
    schedule: str | None = None,
) -> RowSettings:
    """The settings among the chosen columns of a table with these numbers.

    schedule: that of all runs where the table has no such column.

    Passes over the data follow from the number of distinct tokens, and the other way round.
    """
    columns = {
        field: _numbers(sheet, column, field, decimal)
        for field, column in chosen.items()
        if field not in ("schedule", "vocabulary")
    }
    tokens = numbers["tokens"]
    with np.errstate(all="ignore"):
        if "unique_tokens" in columns and "epochs" not in columns:
            columns["epochs"] = np.maximum(tokens / columns["unique_tokens"], 1.0)
        elif "epochs" in columns and "unique_tokens" not in columns:
            epochs = columns["epochs"]
            columns["unique_tokens"] = np.where(epochs > 1, tokens / epochs, np.nan)
    words: dict[str, list[str]] = {}
    if "schedule" in chosen:
        cells = sheet.columns[chosen["schedule"].name]
        words["schedule"] = [str(cell or "").strip().lower() for cell in cells]
    elif schedule is not None:
        words["schedule"] = [schedule] * len(tokens)
    return RowSettings(columns, words)


def worse_than_guessing(losses: Floats, vocabulary: Floats, source: str) -> dict[int, str]:
    """Row -> reason why it is no run, for losses above that of guessing among all tokens.

    Raises DataError where most losses are: they are no means per token in nats.
    """
    with np.errstate(all="ignore"):
        chance = np.log(vocabulary)
        rows = np.flatnonzero(losses > chance * (1 + _ROUNDING))
    if len(rows) > max(_MOST_ABOVE * np.isfinite(losses * chance).sum(), 1):
        row = int(rows[0])
        raise DataError(
            f"The loss must be a mean per token in nats, but {len(rows)} rows of {source} have "
            f"more than that of guessing ({losses[row]:.4g} with a vocabulary of "
            f"{vocabulary[row]:,.0f}, whose log is {chance[row]:.2f}); divide a sum by its number "
            f"of tokens, multiply bits by 0.693, or take the log of a perplexity, as in "
            f"columns={{'loss': 'log(ppl)'}}."
        )
    return {
        row: f"its loss of {losses[row]:.4g} is worse than guessing among {vocabulary[row]:,.0f} "
        f"tokens, {chance[row]:.4g}"
        for row in rows.tolist()
    }


def vocabulary_of(
    sheet: Sheet, chosen: Mapping[str, Column], given: float | None, decimal: str
) -> Floats | None:
    """Number of distinct tokens of each row's model; None where neither table nor user gives it."""
    if given is not None:
        return np.full(len(sheet.rows), float(given))
    if "vocabulary" not in chosen:
        return None
    values = _numbers(sheet, chosen["vocabulary"], "vocabulary", decimal)
    return np.where(values > 1, values, np.nan)


def _numbers(sheet: Sheet, column: Column, field: str, decimal: str) -> Floats:
    """A column as numbers, NaN where a cell is none that the setting can have."""
    values = read_numbers(
        sheet.columns[column.name], column.unit, decimal, is_count=field in _COUNTS
    ).values
    with np.errstate(all="ignore"):
        if field == "seed":
            possible = (np.abs(values) <= _MOST_SEED) & (values == np.round(values))
        elif field == "batch":
            values = np.round(values)
            possible = (values >= 1) & (values < _MOST_SEED)
        else:
            possible = np.isfinite(values) & (
                (values >= 0) if field == "weight_decay" else values > 0
            )
    return np.where(possible, values, np.nan)
