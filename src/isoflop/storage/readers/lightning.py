"""Runs of Lightning's CSVLogger: `version_*/metrics.csv` with `hparams.yaml`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from isoflop.errors import DataError, StoreError, first_line
from isoflop.storage.readers.settings import settings_beside
from isoflop.storage.readers.tracked import Columns, Recorder, TrackedRun, name_of_folder, short

__all__ = ["read_lightning"]


def read_lightning(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of files `metrics.csv`."""
    return [_run(file, path, place) for place, file in enumerate(sorted(files, key=_order))]


def _order(file: Path) -> tuple[str, int, str]:
    """Versions by number: version_10 comes after version_9."""
    name = file.parent.name
    _, _, number = name.rpartition("_")
    return str(file.parent.parent), int(number) if number.isdecimal() else -1, name


def _run(file: Path, root: Path, place: int) -> TrackedRun:
    recorder = Recorder()
    for number, row in enumerate(_rows(file)):
        step = row.get("step")
        recorder.add(
            number if step is None else float(step),
            {name: value for name, value in row.items() if name != "step"},
        )
    folder = file.parent
    return TrackedRun(
        id=str(folder),
        name=name_of_folder(folder, root),
        config=settings_beside(folder),
        last=recorder.last,
        history=recorder.history,
        span=recorder.span(),
        group=str(folder.parent),
        started=float(place),
    )


def _rows(file: Path) -> list[dict[str, float]]:
    """The rows of a file, without empty cells. Raises DataError where a cell is no number."""
    try:
        with open(file, newline="", encoding="utf-8-sig", errors="replace") as lines:
            rows = [*csv.DictReader(lines)]
    except csv.Error as error:
        raise DataError(f"{short(file)} is no table: {first_line(error)}.") from error
    except OSError as error:
        raise StoreError(f"{short(file)} cannot be read: {first_line(error)}.") from error
    found: list[dict[str, float]] = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append({name: float(cell) for name, cell in row.items() if cell})
        except (TypeError, ValueError) as error:
            if number == len(rows) + 1:
                break  # the writer was killed within the line
            raise DataError(
                f"Row {number} of {short(file)} must hold numbers, but it does not; "
                "correct that row or take it out."
            ) from error
    return found
