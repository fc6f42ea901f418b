"""Tracked runs as rows of a table, and what a table has no room for: curves, early ends.

Settings are columns `config.<name>`; what was logged keeps its name. A row has the last value of
each, as of the end of the run.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from isoflop.display.format import join_words, one_line
from isoflop.errors import DataError
from isoflop.notes.note import Note
from isoflop.runs import Run
from isoflop.storage.columns import Column, is_setting
from isoflop.storage.measures import is_name_of
from isoflop.storage.readers.curves import curve_of
from isoflop.storage.readers.joining import joined, last_of
from isoflop.storage.readers.reach import reach
from isoflop.storage.readers.tracked import (
    FINISHED,
    Columns,
    TrackedRun,
    is_cell,
    number_in,
    span_of,
)
from isoflop.storage.sheet import Cells, Sheet, Source
from isoflop.storage.units import parted

__all__ = ["Log", "log_of"]

_RUN, _STATE = "run name", "run state"
"""Columns of every log; the user's own may have any other name."""
_SETTINGS = ("config", "params", "hparams", "hparam")
_LOGGED = ("summary", "metrics")
_PREFIXED = re.compile(rf"({'|'.join((*_SETTINGS, *_LOGGED))})[./](.+)")
_INSIDE = re.compile(r"(log\(\s*)(.+?)(\s*\))")

_AT_END, _ENDED = 0.99, 0.9
"""Shares of a run's steps: a loss from before the first is noted, from before the second is not
that of the run, as in fitting/screening/validity.py."""
_JUDGED = ("loss", "tokens", "flops")
_TRAINING = ("train_loss", "training_loss", "train_loss_step", "loss_train", "loss")
"""Names of the training loss, the likeliest first; `loss` may be the held-out one."""


@dataclass(frozen=True)
class Log:
    """The runs of one source, resumed ones joined."""

    name: str
    runs: Sequence[TrackedRun]
    num_joined: int = 0

    @cached_property
    def cells(self) -> dict[str, list[object]]:
        """Cells of all columns: settings, the last of what was logged, and how each run ended."""
        rows = [
            {f"config.{name}": value for name, value in run.config.items()} | dict(run.last)
            for run in self.runs
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        cells = {name: [_cell(row.get(name)) for row in rows] for name in names}
        return {**cells, _RUN: _names(self.runs), _STATE: [run.state for run in self.runs]}

    def columns(self, columns: Columns | None) -> dict[str, str]:
        """The user's columns by the names of this log, after its own for a run and its state."""
        own = {"run": _RUN, "status": _STATE}
        given = columns or {}
        return own | {field: _resolved(text, self.cells) for field, text in given.items()}

    def offered(self, columns: Columns) -> dict[str, list[object]]:
        """The cells from which columns are chosen.

        A logged value that has a setting's name and changes along the run, as a scheduled learning
        rate does, is no setting, unless the user names it.
        """
        logged = dict.fromkeys(name for run in self.runs for name in run.last)
        hidden = {
            name
            for name in logged
            if is_setting(name)
            and not any(name in text for text in columns.values())
            and _varies(self.runs, name)
        }
        return {name: cells for name, cells in self.cells.items() if name not in hidden}

    def table(self, chosen: Mapping[str, Column], offered: Mapping[str, list[object]]) -> Source:
        """The rows as a table, with the last logged values of the columns chosen."""
        cells = dict(offered)
        for name in {column.name for column in chosen.values()} - {_RUN, _STATE}:
            pairs = zip(self.runs, cells[name], strict=True)
            cells[name] = [_last(run, name, cell) for run, cell in pairs]
        if chosen["status"].name == _STATE:
            losses = cells[chosen["loss"].name]
            states = zip(self.runs, losses, strict=True)
            cells[_STATE] = [_state(run, loss) for run, loss in states]
        return _source(self.name, cells, _names(self.runs))

    def completed(
        self, runs: Sequence[Run], chosen: Mapping[str, Column], columns: Columns
    ) -> tuple[list[Run], tuple[Note, ...]]:
        """The rows' runs with their curves, those whose values end early set aside; and notes."""
        ends = [
            _early(tracked, chosen) if run.status == "completed" else None
            for run, tracked in zip(runs, self.runs, strict=True)
        ]
        full = [
            _with_curve(_set_aside(run, end), tracked, chosen, columns)
            for run, tracked, end in zip(runs, self.runs, ends, strict=True)
        ]
        return full, (*_early_notes(self.runs, ends), *_joined_notes(self))


def log_of(name: str, runs: Sequence[TrackedRun], project: str = "") -> Log:
    """The log of a source, or of one of its projects.

    Raises DataError where it has no runs, or those of several projects and none is named.
    """
    projects = sorted({run.project for run in runs} - {""})
    chosen = [run for run in runs if not project or run.project in ("", project)]
    if not chosen:
        has = f"it has {_listed(projects)}" if runs else "it has no runs"
        raise DataError(
            f"{one_line(name, 60)} must have runs{f' of {project!r}' if project else ''}, but "
            f"{has}; check the path."
        )
    if not project and len(projects) > 1:
        raise DataError(
            f"The runs must be of one project, but {one_line(name, 60)} has {_listed(projects)}; "
            f"add the name of one to the path, as in {one_line(f'{name}#{projects[0]}', 80)}."
        )
    return Log(name, *joined(chosen))


def _listed(projects: Sequence[str]) -> str:
    return join_words([repr(one_line(project, 30)) for project in projects])


def _names(runs: Sequence[TrackedRun]) -> list[object]:
    """Name of each run, with its id where several have the same."""
    names = [run.name or run.id for run in runs]
    number = Counter(names)
    return [
        f"{name} ({run.id})" if number[name] > 1 and name != run.id else name
        for name, run in zip(names, runs, strict=True)
    ]


def _cell(value: object) -> object:
    """A cell of a table; words for numbers, such as NaN, as the number."""
    number = number_in(value)
    return number if number is not None else value if is_cell(value) else None


def _last(run: TrackedRun, name: str, cell: object) -> object:
    """The last logged value, which a summary may hold in another form; else the cell."""
    last = last_of(run.history(name))
    return cell if last is None else last


def _varies(runs: Sequence[TrackedRun], name: str) -> bool:
    """Whether a quantity changes along the first run that logged it."""
    series = next((run.history(name) for run in runs if name in run.last), None)
    return series is not None and bool((series.values != series.values[0]).any())


def _state(run: TrackedRun, loss: object) -> str:
    """How a run ended: one that failed with a loss that is no finite number has diverged."""
    number = number_in(loss)
    failed = run.state.lower() not in ("", FINISHED, "completed", "success", "done", "running")
    return "diverged" if failed and number is not None and not math.isfinite(number) else run.state


def _source(name: str, cells: Cells, names: Sequence[object]) -> Source:
    def sheet(chosen: Sequence[str]) -> Sheet:
        columns = {column: cells[column] for column in chosen}
        return Sheet(name, columns, range(1, len(names) + 1), names=[str(own) for own in names])

    return Source(name, cells, sheet)


def _resolved(text: str, names: Cells) -> str:
    """The user's words for a column, with the column's name in this log.

    `n_params`, `params.n_params` and `hparams/n_params` all mean `config.n_params` where no column
    has that name itself.
    """
    if text in names:
        return text
    if inside := _INSIDE.fullmatch(text):
        return f"{inside[1]}{_resolved(inside[2], names)}{inside[3]}"
    name, _ = parted(text, [*names])
    return _of_log(name, names) + text[len(name) :]


def _of_log(name: str, names: Cells) -> str:
    prefixed = _PREFIXED.fullmatch(name)
    bare = prefixed[2] if prefixed else name
    places = [f"config.{bare}", bare] if prefixed and prefixed[1] in _SETTINGS else []
    for place in places or [bare, f"config.{bare}"]:
        if place in names:
            return place
    alike = [own for own in names if is_name_of(own, bare)]
    return alike[0] if len(alike) == 1 else name


@dataclass(frozen=True)
class _End:
    """A value from before the end of its run."""

    field: str
    step: float
    of: float

    share: float
    """Share of the run after which it was logged."""

    def __str__(self) -> str:
        return f"step {self.step:.10g} of {self.of:.10g}"


def _early(run: TrackedRun, chosen: Mapping[str, Column]) -> _End | None:
    """The value of a run that ends first, if any ends before the run does."""
    found = {field: run.history(chosen[field].name) for field in _JUDGED if field in chosen}
    logged = {field: series for field, series in found.items() if series is not None}
    span = run.span or span_of([*logged.values()])
    ends = [
        _End(field, float(series.steps[-1]), span.last, share)
        for field, series in logged.items()
        if span is not None
        and (field == "loss" or series.values[-1] != series.values[0])  # else as a setting is
        and (share := reach(series, span)) < _AT_END
    ]
    return min(ends, key=lambda end: end.share, default=None)


def _set_aside(run: Run, end: _End | None) -> Run:
    if end is None or end.share >= _ENDED:
        return run
    return replace(run, status="failed", error=f"its last {end.field} is from {end}")


def _with_curve(
    run: Run, tracked: TrackedRun, chosen: Mapping[str, Column], columns: Columns
) -> Run:
    """The run with its training curve, where it logged tokens and a training loss."""
    tokens = tracked.history(chosen["tokens"].name) if "tokens" in chosen else None
    last = last_of(tokens)
    if tokens is None or not last or not math.isfinite(run.num_tokens):
        return run
    name = _training_loss(tracked, chosen["loss"].name, columns)
    losses = tracked.history(name) if name else None
    curve = curve_of(tokens, losses, scale=run.num_tokens / last) if losses is not None else ()
    return replace(run, curve=curve) if curve else run


def _training_loss(tracked: TrackedRun, held_out: str, columns: Columns) -> str | None:
    """Name of the training loss: the user's `train_loss`, else a usual name."""
    if "train_loss" in columns:
        return columns["train_loss"]
    for usual in _TRAINING:
        for name in tracked.last:
            if name != held_out and is_name_of(name, usual) and tracked.history(name) is not None:
                return name
    return None


def _early_notes(runs: Sequence[TrackedRun], ends: Sequence[_End | None]) -> tuple[Note, ...]:
    early = [(end, run) for end, run in zip(ends, runs, strict=True) if end is not None]
    if not early:
        return ()
    end, run = min(early, key=lambda pair: pair[0].share)
    others = f" and ends early in {len(early)} runs" if len(early) > 1 else ""
    set_aside = sum(other.share < _ENDED for other, _ in early)
    which = "which is" if len(early) == 1 else f"{set_aside} of which are"
    outcome = f", {which} set aside" if set_aside else ""
    name = one_line(run.name or run.id, 40)
    return (Note("early-end", f"The {end.field} is from {end} in {name}{others}{outcome}."),)


def _joined_notes(log: Log) -> tuple[Note, ...]:
    if not log.num_joined:
        return ()
    runs = "1 run was" if log.num_joined == 1 else f"{log.num_joined} runs were"
    return (Note("resumed-runs", f"{runs} resumed; the parts are read as one run each."),)
