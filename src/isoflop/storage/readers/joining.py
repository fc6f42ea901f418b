"""Parts of a resumed run as one run: the same id, or a group whose steps continue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from isoflop.storage.readers.tracked import FINISHED, Series, Span, TrackedRun, increasing

__all__ = ["joined", "last_of"]

_FRESH = 2.0
"""A run that begins before this many of its own log intervals has begun anew."""
_GAP = 1.1
"""Farthest beginning of a resumed part, over the last step of the part before."""
_ENDED = (FINISHED, "completed", "success", "done")


@dataclass(frozen=True)
class _Part:
    """A part of a run, with the number to add to its steps so that they continue."""

    run: TrackedRun
    shift: float


def joined(runs: Sequence[TrackedRun]) -> tuple[list[TrackedRun], int]:
    """Runs with the parts of resumed ones joined, in the order in which they began; and the number
    of runs that had several parts.

    Parts have the same id; or they have the same group, the first one did not finish, and the next
    one begins at a step that the first one had reached.
    """
    parts: dict[str, list[TrackedRun]] = {}
    for run in sorted(runs, key=lambda run: run.started):
        key = run.id if run.id in parts else _continued(run, parts) or run.id
        parts.setdefault(key, []).append(run)
    logged = [_with_steps(members) for members in parts.values()]
    return [_join(members) for members in logged], sum(len(members) > 1 for members in logged)


def _with_steps(members: list[TrackedRun]) -> list[TrackedRun]:
    """The parts that logged anything; the last one where none did."""
    return [run for run in members if run.last] or members[-1:]


def _continued(run: TrackedRun, parts: dict[str, list[TrackedRun]]) -> str | None:
    """Key of the run that this one continues; None for none."""
    keys = [key for key, members in parts.items() if _continues(run, members[-1])]
    return max(keys, key=lambda key: _likeness(run, parts[key][-1]), default=None)


def _continues(run: TrackedRun, before: TrackedRun) -> bool:
    if not run.group or run.group != before.group or before.state.lower() in _ENDED:
        return False
    if run.span is None or before.span is None or (not before.state and _differ(run, before)):
        return False
    is_fresh = run.span.first < _FRESH * run.span.spacing
    return not is_fresh and before.span.first < run.span.first <= _GAP * before.span.last + 1


def _differ(run: TrackedRun, before: TrackedRun) -> bool:
    return dict(run.config) != dict(before.config)


def _likeness(run: TrackedRun, before: TrackedRun) -> int:
    """Number of settings that two runs share."""
    return sum(before.config.get(name) == value for name, value in run.config.items())


def _join(members: Sequence[TrackedRun]) -> TrackedRun:
    """The parts as one run, whose settings, last values and state are the latest ones."""
    if len(members) == 1:
        return members[0]
    parts = _shifted(members)
    last = {name: value for run in members for name, value in run.last.items()}
    config = {name: value for run in members for name, value in run.config.items()}
    spans = [
        Span(part.run.span.first + part.shift, part.run.span.last + part.shift)
        for part in parts
        if part.run.span is not None
    ]
    span = Span(spans[0].first, spans[-1].last) if spans else None
    return replace(
        members[-1],
        id=members[0].id,
        name=members[0].name,
        config=config,
        last=last,
        history=partial(_history, parts),
        span=span,
    )


def _shifted(members: Sequence[TrackedRun]) -> list[_Part]:
    """Parts whose steps continue: a counter that starts again goes on after the last step."""
    parts: list[_Part] = []
    first, end = None, 0.0
    for run in members:
        shift = 0.0
        if run.span is not None:
            if first is not None and run.span.first <= first:
                shift = end + 1 - run.span.first
            first = run.span.first if first is None else first
            end = run.span.last + shift
        parts.append(_Part(run, shift))
    return parts


def _history(parts: Sequence[_Part], name: str) -> Series | None:
    """Values of all parts; steps that a later part logged again are that part's."""
    found = [(part, series) for part in parts if (series := part.run.history(name)) is not None]
    if not found:
        return None
    steps = np.concatenate([series.steps + part.shift for part, series in found])
    values = np.concatenate([series.values for _, series in found])
    times = [series.times for _, series in found if series.times is not None]
    kept = increasing(steps)
    return Series(
        steps[kept],
        values[kept],
        np.concatenate(times)[kept] if len(times) == len(found) else None,
    )


def last_of(series: Series | None) -> float | None:
    """The last value of a series; None for none."""
    return None if series is None or not len(series.values) else float(series.values[-1])
