"""TrackedRun: a run as a tracker recorded it, and what its readers share.

A reader turns a folder or a file into tracked runs: settings, what was logged, and how each run
ended. `readers/logs.py` makes rows of a table of them.
"""

import math
import warnings
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line
from isoflop.errors import IsoflopError, StoreError, first_line

__all__ = [
    "FINISHED",
    "Columns",
    "Read",
    "Recorder",
    "Series",
    "Span",
    "TrackedRun",
    "failures_as_errors",
    "flat",
    "increasing",
    "is_cell",
    "name_of_folder",
    "number_in",
    "series_of",
    "short",
    "span_of",
]

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, str]

FINISHED = "finished"
_WORDS = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")
"""How trackers write numbers that JSON does not have."""


@dataclass(frozen=True)
class Series:
    """The logged values of one quantity, by step."""

    steps: Floats
    values: Floats
    times: Floats | None = None
    """Seconds at which each was logged, where steps may be in another unit, such as epochs."""


@dataclass(frozen=True)
class Span:
    """Steps of a run: the first one logged, the last one, and the usual distance of two."""

    first: float
    last: float
    spacing: float = 1.0
    times: tuple[float, float] | None = None
    """Seconds at which they were logged, where a quantity may count steps of its own."""


def series_of(points: Sequence[tuple[float, float, float]]) -> Series:
    """Values by step from (step, seconds, value); of several at one step, the latest counts."""
    steps, times, values = np.array(points, dtype=float).T
    order = np.lexsort((times, steps))
    kept = order[increasing(steps[order])]
    return Series(steps[kept], values[kept], times[kept])


def span_of(logged: Sequence[Series]) -> Span | None:
    """Steps of a run from all that it logged; None where that is nothing."""
    if not logged:
        return None
    times = [series.times for series in logged if series.times is not None]
    return Span(
        min(float(series.steps[0]) for series in logged),
        max(float(series.steps[-1]) for series in logged),
        max(_spacing(series.steps) for series in logged),
        (min(float(t.min()) for t in times), max(float(t.max()) for t in times)) if times else None,
    )


def _spacing(steps: Floats) -> float:
    return float(np.median(np.diff(np.unique(steps)))) if len(steps) > 1 else 1.0


def _no_history(name: str) -> Series | None:
    return None


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker recorded it."""

    id: str
    """Name that the parts of a resumed run share."""
    name: str
    config: Mapping[str, object]
    """Settings by name; those of nested settings are joined by dots."""
    last: Mapping[str, object] = field(default_factory=dict)
    """The last value of everything that was logged, by name."""
    history: Callable[[str], Series | None] = _no_history
    """Name -> the values that were logged; None where there are none."""
    span: Span | None = None
    """None where nothing was logged, or the tracker does not say."""
    state: str = ""
    """As the tracker says it: finished, crashed, FAILED, ...; empty where it does not."""
    group: str = ""
    started: float = 0.0
    """Seconds, to order the parts of a resumed run."""
    project: str = ""


Read = Callable[[Path, Sequence[Path], Columns], Sequence[TrackedRun]]
"""A path, the files of a tracker there, the columns that the user names -> the recorded runs."""


class Recorder:
    """Collects the logged rows of one run.

    A step counter that starts again goes on where it was; steps that are logged again, as after
    resuming from a checkpoint, replace those before.
    """

    def __init__(self) -> None:
        self.last: dict[str, object] = {}
        self._steps: dict[str, array[float]] = {}
        self._values: dict[str, array[float]] = {}
        self._all = array("d")
        self._offset = 0.0

    def add(self, step: float, row: Mapping[str, object]) -> None:
        """Record a row, whose nested values are named with dots.

        A step that is no finite number is the one before.
        """
        if not math.isfinite(step):
            step = self.end - self._offset
        if self._all and step + self._offset < self._all[-1] and step <= self._all[0]:
            self._offset = self._all[-1] + 1 - step
        step += self._offset
        self._all.append(step)
        for name, value in row.items():
            self.last[name] = value
            number = number_in(value)
            if number is not None:
                self._steps.setdefault(name, array("d")).append(step)
                self._values.setdefault(name, array("d")).append(number)

    @property
    def end(self) -> float:
        """The last step so far."""
        return self._all[-1] if self._all else 0.0

    def history(self, name: str) -> Series | None:
        if name not in self._steps:
            return None
        steps, values = np.array(self._steps[name]), np.array(self._values[name])
        kept = increasing(steps)
        return Series(steps[kept], values[kept])

    def span(self) -> Span | None:
        if not self._all:
            return None
        steps = np.array(self._all)
        return Span(self._all[0], float(steps.max()), _spacing(steps))


def increasing(steps: Floats) -> npt.NDArray[np.bool_]:
    """Places of which every later one has a larger step: what was logged again counts once."""
    later = np.minimum.accumulate(steps[::-1])[::-1]
    return np.append(steps[:-1] < later[1:], True) if len(steps) else np.zeros(0, dtype=bool)


def number_in(value: object) -> float | None:
    """The number that was logged, NaN and Infinity as words too; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return float(value)
    return None


def is_cell(value: object) -> bool:
    """Whether a value can be a cell of a table: a number or a text."""
    return isinstance(value, str | int | float)


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as one level, with names joined by dots; lists and empty values are left out.

    >>> flat({"model": {"width": 64, "layers": [1, 2]}, "lr": 0.1})
    {'model.width': 64, 'lr': 0.1}
    """
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif is_cell(value):
            found[name] = value
    return found


def name_of_folder(folder: Path, root: Path) -> str:
    """Name of a run by its folder, from the folder or file that is read."""
    is_below = folder != root and folder.is_relative_to(root)
    return folder.relative_to(root).as_posix() if is_below else folder.resolve().name


def short(file: Path) -> str:
    """A file in messages: its name and its folder's, which is often that of a run."""
    return one_line("/".join(file.parts[-2:]), 80)


@contextmanager
def failures_as_errors(source: object) -> Iterator[None]:
    """Raise StoreError, with the tracker's own words, where a tracker's library fails.

    Its warnings, which are about its own code, are not shown.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IsoflopError:
        raise
    except Exception as error:  # whatever the code of a tracker raises
        shown = short(source) if isinstance(source, Path) else one_line(source, 80)
        raise StoreError(
            f"{shown} cannot be read ({type(error).__name__}: "
            f"{one_line(first_line(error), 120)}); check it with the tracker that wrote it."
        ) from error
