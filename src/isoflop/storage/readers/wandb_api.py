"""Runs of a Weights & Biases project through `wandb.Api`: `wandb:entity/project`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Protocol

from isoflop.display.format import quoted
from isoflop.errors import DataError
from isoflop.extras import load_extra
from isoflop.storage.readers.tracked import (
    Recorder,
    Series,
    Span,
    TrackedRun,
    failures_as_errors,
    flat,
    number_in,
)

__all__ = ["read_wandb_project"]

_FIRST_ROWS = 10
"""Rows from which the beginning of a run in a group is known."""


class ApiRun(Protocol):
    """A run of `wandb.Api`, which has no types."""

    id: str
    name: str
    state: str
    config: Mapping[str, Any]
    summary: Any

    def scan_history(self, keys: list[str] | None = None) -> Iterable[Mapping[str, Any]]: ...


def read_wandb_project(project: str) -> Sequence[TrackedRun]:
    """The runs of `entity/project`, or of a project of the user's own entity.

    Summaries come with the list of runs; of the history, only what is needed is fetched,
    without sampling. Raises DataError for another address, StoreError where W&B does not answer.
    """
    parts = project.split("/")
    if len(parts) > 2 or not all(part.strip() for part in parts):
        raise DataError(
            f"A W&B project must be written as wandb:entity/project, but got "
            f"{quoted(f'wandb:{project}')}."
        )
    api = load_extra("wandb", "wandb").Api
    with failures_as_errors(f"wandb:{project}"):
        return [_run(run) for run in api().runs(project)]


def _run(run: ApiRun) -> TrackedRun:
    group = getattr(run, "group", None) or ""
    summary = _summary(run.summary)
    return TrackedRun(
        id=run.id,
        name=run.name or run.id,
        config={name: v for name, v in flat(run.config).items() if not name.startswith("_wandb")},
        last=summary,
        history=lru_cache(maxsize=None)(partial(_history, run, frozenset(summary))),
        span=_span(run, summary, is_part=bool(group)),
        state=run.state or "",
        group=group,
        started=_seconds(getattr(run, "created_at", "")),
    )


def _summary(summary: Any) -> dict[str, object]:
    """The last values; a name that W&B summarises by its best or mean is known from its history."""
    values = dict(getattr(summary, "_json_dict", summary))
    aggregated = {
        name: value.get("last")
        for name, value in values.items()
        if isinstance(value, Mapping)
        and not {"min", "max", "mean", "best", "last"}.isdisjoint(value)
    }
    kept = {name: value for name, value in values.items() if not name.startswith("_wandb")}
    return {**flat(kept), **aggregated}


def _history(run: ApiRun, logged: frozenset[str], name: str) -> Series | None:
    """All logged values of one name. Rows of several names at once are only those with all."""
    if name not in logged:
        return None
    recorder = Recorder()
    with failures_as_errors(f"The history of run {run.id}"):
        for row in run.scan_history(keys=["_step", name]):
            recorder.add(_step(row), {name: row.get(name)})
    return recorder.history(name)


def _step(row: Mapping[str, Any]) -> float:
    step = number_in(row.get("_step"))
    return math.nan if step is None else step


def _span(run: ApiRun, summary: Mapping[str, object], *, is_part: bool) -> Span | None:
    """Steps of the run. The first ones are fetched where the run may go on from another one."""
    last = summary.get("_step", getattr(run, "lastHistoryStep", None))
    if not isinstance(last, int | float):
        return None
    if not is_part:
        return Span(0.0, float(last))
    recorder = Recorder()
    for row in islice(run.scan_history(keys=["_step"]), _FIRST_ROWS):
        recorder.add(_step(row), {})
    first = recorder.span()
    return (
        Span(0.0, float(last)) if first is None else Span(first.first, float(last), first.spacing)
    )


def _seconds(created: object) -> float:
    """Seconds of a date such as 2025-03-01T10:00:00Z; 0 where there is none."""
    try:
        return datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return 0.0
