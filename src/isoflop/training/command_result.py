"""Where a command leaves its result: in a JSON or CSV file, in its output, or for a function."""

import csv
import json
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isoflop import arguments
from isoflop.display.format import one_line, quoted
from isoflop.errors import ContractError, DataError
from isoflop.handout import Value, filled

__all__ = ["Result", "Results", "result_of"]

Result = str | re.Pattern[str] | Callable[[Path], object]
"""A file with a key, a regular expression, or a function of the run's folder."""
Stamp = tuple[int, int] | None
"""Time of change and size of a file; None where there is none."""

_FILE = re.compile(r"(?P<path>.+\.(?P<kind>json|jsonl|ndjson|csv|tsv)):(?P<key>.+)", re.DOTALL)
MOST_BYTES = 2**30


@dataclass(frozen=True)
class _File:
    """A number in a file.

    kind: "json" for one value, all others for the last of many rows.
    """

    path: str
    kind: str
    key: str

    def resolved(self, values: Mapping[str, Value], folder: Path) -> Path:
        return folder / filled(self.path, values)

    def read(self, path: Path) -> object:
        if self.kind == "json":
            return _at_key(_json(path.read_text(), path), self.key, path)
        return _number(self._last(path), f"{path.name}: {self.key}")

    def _last(self, path: Path) -> object:
        """The key's value in the last row that has one."""
        found: object = None
        with open(path, newline="") as file:
            if self.kind in ("jsonl", "ndjson"):
                rows = (_json(line, path) for line in file if line.strip())
                values = (_found(row, self.key) for row in rows)
            else:
                reader = csv.DictReader(file, delimiter="\t" if self.kind == "tsv" else ",")
                if self.key not in (reader.fieldnames or []):
                    raise DataError(
                        f"{path} must have a column {self.key!r}, but has "
                        f"{quoted(list(reader.fieldnames or []))}"
                    )
                values = (row[self.key] for row in reader)
            for value in values:
                if value not in (None, ""):
                    found = value
        if found is None:
            raise DataError(f"{path} has no row with {self.key!r}")
        return found


@dataclass(frozen=True)
class Results:
    """Values by name, each with where it is found."""

    named: Mapping[str, _File | re.Pattern[str] | Callable[[Path], object]]

    def check(self, values: Mapping[str, Value], folder: Path) -> None:
        """Raise ContractError where the path of a file does not fit a spec."""
        for file in self._files():
            file.resolved(values, folder)

    def check_apart(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> None:
        """Raise ContractError where two runs would write the same file."""
        for file in self._files():
            paths = [file.resolved(values, Path(str(values["folder"]))) for values in (one, other)]
            if paths[0] == paths[1]:
                raise ContractError(
                    f"Command: each run must have a result file of its own, but all would write "
                    f"{one_line(paths[0], 80)}; put it into {{folder}}."
                )

    def before(self, values: Mapping[str, Value], folder: Path) -> dict[str, Stamp]:
        """The state of each file before the command."""
        return {
            name: _stamp(place.resolved(values, folder))
            for name, place in self.named.items()
            if isinstance(place, _File)
        }

    def read(
        self, values: Mapping[str, Value], folder: Path, before: Mapping[str, Stamp], output: str
    ) -> dict[str, object]:
        """The values that a command left.

        Raises DataError where one is missing, stale, of another run or no number.
        """
        found: dict[str, object] = {}
        for name, place in self.named.items():
            if isinstance(place, _File):
                found[name] = _from_file(place, values, folder, before[name])
            elif isinstance(place, re.Pattern):
                found[name] = _last_match(place, output)
            else:
                value = place(folder)
                found.update(value if isinstance(value, Mapping) else {name: value})
        return found

    def _files(self) -> list[_File]:
        return [place for place in self.named.values() if isinstance(place, _File)]


def result_of(result: Result | Mapping[str, Result]) -> Results:
    """The places of a command's result. Raises ContractError for what is none."""
    named = result if isinstance(result, Mapping) else {"loss": result}
    if "loss" not in named:
        raise ContractError(
            f"Command: result must say where the 'loss' is found, but names {quoted([*named])}."
        )
    return Results({str(name): _place(place) for name, place in named.items()})


def _place(result: object) -> _File | re.Pattern[str] | Callable[[Path], object]:
    if isinstance(result, str) and (file := _FILE.fullmatch(result)):
        return _File(file["path"], file["kind"], file["key"])
    if isinstance(result, str):
        try:
            result = re.compile(result, re.MULTILINE)
        except re.error as error:
            raise ContractError(
                f"Command: result must be FILE.json:key, FILE.csv:column or a regular expression, "
                f"but {quoted(result, 80)} is none ({error})."
            ) from None
    if isinstance(result, re.Pattern):
        if result.groups != 1:
            raise ContractError(
                f"Command: result must be FILE.json:key, FILE.csv:column, or a regular expression "
                f"with one group for the number, but {quoted(result.pattern, 80)} has "
                f"{result.groups} groups."
            )
        return result
    if not callable(result):
        must = "FILE.json:key, a regular expression or a function of the folder"
        raise arguments.refused(result, "Command: result", must, error=ContractError)
    return result


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _from_file(file: _File, values: Mapping[str, Value], folder: Path, before: Stamp) -> object:
    path = file.resolved(values, folder)
    now = _stamp(path)
    if now is None:
        raise DataError(f"the command must write {path}, but there is no such file")
    if now == before:
        raise DataError(f"the command must write {path}, but left it as it was before")
    if now[1] > MOST_BYTES:
        raise DataError(f"{path} must have at most a gigabyte, but has {now[1]} bytes")
    if file.kind == "json":
        _check_id(path, values)
    return file.read(path)


def _check_id(path: Path, values: Mapping[str, Value]) -> None:
    """Raise DataError where a result names another run."""
    content = _json(path.read_text(), path)
    named = content.get("id") if isinstance(content, dict) else None
    if isinstance(named, str) and len(named) == 16 and named != values["id"]:
        raise DataError(f"{path} must be the result of {values['id']}, but is that of {named}")


def _json(text: str, path: Path) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} must be JSON, but is not ({error})") from None


def _found(value: object, key: str) -> object:
    """A value by a key of dots, or by the whole key; None where there is none."""
    if isinstance(value, dict) and key in value:
        return value[key]
    for part in key.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and re.fullmatch(r"-?\d+", part):
            value = value[int(part)] if -len(value) <= int(part) < len(value) else None
        else:
            return None
    return value


def _at_key(content: object, key: str, path: Path) -> float:
    value = _found(content, key)
    if value is None:
        names = quoted([*content]) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} must have a value at {key!r}, but has {names}")
    return _number(value, f"{path.name}: {key}")


def _number(value: object, name: str) -> float:
    """A number, or a text of one."""
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a number, but is {quoted(value)}") from None


def _last_match(pattern: re.Pattern[str], output: str) -> float:
    matches = deque(pattern.finditer(output), maxlen=1)
    if not matches:
        raise DataError(f"the output must match {quoted(pattern.pattern, 80)}, but does not")
    return _number(matches[0][1], f"the match of {quoted(pattern.pattern, 60)}")
