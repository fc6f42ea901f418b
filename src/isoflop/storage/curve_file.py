"""read_curve(): tokens and training losses of a run that is still training."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoflop import arguments
from isoflop.display.format import join_words, one_line, quoted
from isoflop.errors import DataError
from isoflop.runs import CurvePoint
from isoflop.storage.files import Damaged, cannot_be_read, read_file
from isoflop.storage.measures import plain_name
from isoflop.storage.numbers import read_numbers
from isoflop.storage.readers.tracked import Floats, increasing
from isoflop.storage.records import load_curve
from isoflop.storage.sheet import Source, is_frame, open_sheet, source_of_frame
from isoflop.storage.units import parted, unit_of_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_curve"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "tokens": ("tokens", "num_tokens", "tokens_seen", "train_tokens", "training_tokens",
               "tokens_trained", "num_input_tokens_seen"),
    "loss": ("train_loss", "training_loss", "loss"),
}  # fmt: skip
"""Usual names of a curve's columns, the best first. A loss on held-out data is not among them: the
curves that it is compared with hold training losses."""


def read_curve(
    source: "str | os.PathLike[str] | pd.DataFrame | Sequence[CurvePoint]",
    columns: Mapping[str, str] | None = None,
) -> tuple[CurvePoint, ...]:
    """(tokens, training loss) along a run, from a table, a store's curve.jsonl, or pairs.

    Rows without a loss are left out, and so are those that a resumed run trained again.

    columns: of a table, as {"tokens": "step * 4194304", "loss": "train/nll"}.

    Raises DataError where there are no such columns or no points; StoreError without a file.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(arguments.a_path(source, "watch: curve"))
        is_stored = path.suffix.lower() == ".jsonl" and path.is_file()
        points = _stored(path) if is_stored else _of_table(open_sheet(path), columns or {})
    elif is_frame(source):
        points = _of_table(source_of_frame(source, "the curve"), columns or {})
    else:
        points = _of_pairs(source)
    points = points[points[:, 0] > 0]
    points = points[increasing(points[:, 0])]
    if not len(points):
        raise DataError("A curve must have rows with tokens and a loss, but has none.")
    return tuple(zip(*points.T.tolist(), strict=True))


def _stored(path: Path) -> Floats:
    try:
        curve = load_curve(read_file(str(path)) or b"")
    except Damaged as error:
        raise DataError(cannot_be_read(path, error)) from error
    if not curve.points:
        raise DataError(
            f"{one_line(path, 100)} must hold pairs of tokens and loss, one a line, but "
            f"{curve.damage or 'is empty'}."
        )
    return np.array(curve.points, dtype=float)


def _of_pairs(source: object) -> Floats:
    try:
        points: Floats = np.array(source, dtype=float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2:
        raise arguments.refused(
            source, "watch: curve", "a path, a data frame, or pairs of tokens and loss"
        )
    return np.asarray(points[np.isfinite(points[:, 0])])


def _of_table(table: Source, columns: Mapping[str, str]) -> Floats:
    for field in columns:
        arguments.one_of(field, "A curve's column", _NAMES)
    chosen = {field: _column(field, columns.get(field), table) for field in _NAMES}
    sheet = table.sheet([name for name, _ in chosen.values()])
    losses = sheet.columns[chosen["loss"][0]]
    values = [
        read_numbers(sheet.columns[name], unit, is_count=field == "tokens").values
        for field, (name, unit) in chosen.items()
    ]
    logged = np.array([not _is_blank(cell) for cell in losses], dtype=bool)
    return np.stack(values, axis=1)[logged & np.isfinite(values[0])]


def _column(field: str, text: str | None, table: Source) -> tuple[str, float]:
    """Name of a field's column, and the factor of its numbers."""
    names = [*table.head]
    if text is None:
        plain = {plain_name(name): name for name in reversed(names)}
        if field == "tokens":
            plain = {plain_name(unit_of_name(name)[0]): name for name in reversed(names)} | plain
        text = next((plain[usual] for usual in _NAMES[field] if usual in plain), None)
    name, unit = (None, None) if text is None else parted(text, names)
    if name not in names:
        raise DataError(
            f"{one_line(table.name, 40)} has no column {quoted(text or field, 40)}; it has "
            f'{join_words(names, most=12)}: name one with columns={{"{field}": "..."}} '
            f"(--curve-column {field}=...)."
        )
    if unit is None:
        unit = unit_of_name(name)[1] if field == "tokens" else 1.0
    return name, unit


def _is_blank(cell: object) -> bool:
    is_nan = isinstance(cell, float) and math.isnan(cell)
    return cell is None or is_nan or not str(cell).strip()
