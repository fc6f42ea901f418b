"""Runs of JSON lines: many lines for each run, one file for each run, or one line for each run."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from isoflop.errors import DataError, StoreError, first_line
from isoflop.storage.measures import is_name_of
from isoflop.storage.readers.settings import read_json, settings_beside
from isoflop.storage.readers.tracked import Columns, Recorder, TrackedRun, flat, number_in, short

__all__ = ["LINES", "read_json_lines"]

LINES = (".jsonl", ".ndjson")
_RUNS = ("run", "run_id", "run_name", "name", "id", "group")
_STEPS = ("step", "_step", "global_step", "iteration", "iter", "update")
_STATES = ("status", "state")

Row = dict[str, object]


def read_json_lines(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of files of JSON lines, or of a JSON list of objects.

    Lines belong to the run that their column `run`, `name` or `id` names, or the one that the user
    names. Without such a column, a file whose steps grow is the log of one run; of any other, each
    line is a run.
    """
    return [run for file in files for run in _runs(file, path, columns)]


def _runs(file: Path, root: Path, columns: Columns) -> list[TrackedRun]:
    rows = [*_rows(file)]
    names = {name for row in rows for name in row}
    column = _run_column(names, columns)
    step = _first(_STEPS, names)
    settings = settings_beside(file.parent) if root.is_dir() else {}
    if column is not None:
        members: dict[str, list[Row]] = {}
        for row in rows:
            members.setdefault(str(row.get(column, "")), []).append(row)
        return [_run(name, name, own, step, settings) for name, own in members.items()]
    if step is not None and len(rows) > 1 and _grows(rows, step):
        return [_run(str(file), _name_of(file, root), rows, step, settings)]
    return [
        _run(f"{file}:{number}", f"line {number} of {file.name}", [row], None, settings)
        for number, row in enumerate(rows, start=1)
    ]


def _run_column(names: set[str], columns: Columns) -> str | None:
    """The column that names a run: the user's, else a usual one."""
    own = next((column for field, column in columns.items() if is_name_of(field, "run")), None)
    return own if own in names else _first(_RUNS, names)


def _first(usual: Sequence[str], names: set[str]) -> str | None:
    return next((name for each in usual for name in names if name.lower() == each), None)


def _grows(rows: Sequence[Row], step: str) -> bool:
    """Whether the steps of a file go up from line to line, but for a few that start again."""
    steps = [number for row in rows if (number := number_in(row.get(step))) is not None]
    falls = sum(after < before for before, after in itertools.pairwise(steps))
    return len(steps) > 1 and steps[0] != steps[-1] and falls <= 0.1 * len(steps)


def _name_of(file: Path, root: Path) -> str:
    """Name of a file's run: that of its folder where each run has one, else its own."""
    if root.is_dir() and file.parent != root:
        return file.parent.relative_to(root).as_posix()
    return file.stem


def _run(
    run: str, name: str, rows: Sequence[Row], step: str | None, settings: Mapping[str, object]
) -> TrackedRun:
    recorder = Recorder()
    for number, row in enumerate(rows):
        own = None if step is None else number_in(row.get(step))
        recorder.add(recorder.end if own is None and number else own or 0.0, row)
    state = _first(_STATES, set(recorder.last))
    return TrackedRun(
        id=run,
        name=name,
        config=settings,
        last={key: value for key, value in recorder.last.items() if key != state},
        history=recorder.history,
        span=recorder.span() if step is not None else None,
        state=str(recorder.last[state]) if state else "",
    )


def _rows(file: Path) -> Iterator[Row]:
    if file.suffix.lower() == ".json":
        yield from _listed(file)
        return
    for number, line, is_last in _lines(file):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if is_last:
                return  # the writer was killed within the line
            raise DataError(
                f"Line {number} of {short(file)} is no JSON: {first_line(error)}; correct "
                "that line or take it out."
            ) from error
        if not isinstance(row, Mapping):
            raise DataError(
                f"Each line of {short(file)} must be a JSON object, but line {number} is "
                "not; correct that line or take it out."
            )
        yield flat(row)


def _lines(file: Path) -> Iterator[tuple[int, str, bool]]:
    """(number, line, whether it is an unfinished last one), without blank lines."""
    try:
        with open(file, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line, not line.endswith("\n")
    except UnicodeError as error:
        raise DataError(f"{short(file)} must be UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise StoreError(f"{short(file)} cannot be read: {first_line(error)}.") from error


def _listed(file: Path) -> Iterator[Row]:
    values = read_json(file)
    if not isinstance(values, list) or not all(isinstance(row, Mapping) for row in values):
        raise DataError(
            f"{short(file)} must be a list of objects, one for each row, but it is not; "
            "read it with pandas and pass the data frame."
        )
    yield from map(flat, values)
