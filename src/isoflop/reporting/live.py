"""live_report(): the page of a sweep in training, redrawn after each run."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.answers.predict import predict
from isoflop.display.format import format_flops, format_items, format_percent
from isoflop.display.html import Html, tag
from isoflop.errors import DataError
from isoflop.family import Family
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.fit import fit
from isoflop.reporting import sections
from isoflop.reporting.page import document, render
from isoflop.runs import Run, RunSpec
from isoflop.storage.atomic import write_text
from isoflop.task import Task

if TYPE_CHECKING:
    from isoflop.planning.sweep import Sweep

__all__ = ["live_report"]

SHARE = 5.0
"""Pause after drawing a page, as a multiple of the time that drawing took."""


def live_report(
    path: str | os.PathLike[str],
    *,
    target: float,
    sweep: "Sweep | None" = None,
    runs: Iterable[Run] = (),
    task: Task | Family | None = None,
    approach: Approach | None = None,
    seconds: float = 5.0,
) -> Callable[[Run], Path]:
    """A function for `train(on_record=...)` that rewrites the page after each run.

    The page holds the answer as soon as the runs allow one. It is first written at once, so that a
    wrong path raises before any training.

    target: FLOPs of the target run.
    sweep: The planned runs, for the progress shown. The page is final when all have ended.
    runs: Runs recorded before.
    task: For answers in sizes that can be built.
    seconds: Least time between two drawings until the last run ends; 0 draws every run.

    Raises StoreError where the first page cannot be written. Later failures only warn, and training
    continues.
    """
    specs = () if sweep is None else sweep.specs
    known = {run.id: run for run in runs}
    next_at = -float("inf")
    path = os.path.abspath(path)  # the user's code may go to another folder

    def redraw(run: Run) -> Path:
        nonlocal next_at
        known[run.id] = run
        over = bool(specs) and all(spec.id in known for spec in specs)
        if over or time.monotonic() >= next_at:
            began = time.monotonic()
            try:
                write_text(path, _page(tuple(known.values()), specs, target, task, approach))
            except Exception as error:  # a page is not worth a sweep
                warnings.warn(
                    f"The page {path} could not be drawn, and training goes on: {error}",
                    stacklevel=2,
                )
            pause = max(seconds, SHARE * (time.monotonic() - began)) if seconds else 0.0
            next_at = time.monotonic() + pause
        return Path(path)

    write_text(path, _page(tuple(known.values()), specs, target, task, approach))
    return redraw


def _page(
    runs: Sequence[Run],
    specs: Sequence[RunSpec],
    target: float,
    task: Task | Family | None,
    approach: Approach | None,
) -> str:
    left = [spec for spec in specs if spec.id not in {run.id for run in runs}]
    status = [_progress(runs, specs, left)] if left or not specs else []
    try:
        fitted = fit(runs, approach)
        return render(fitted, predict(fitted, flops=target, task=task), task=task, before=status)
    except DataError as error:  # too few runs as yet
        return _early_page(runs, target, status, str(error))


def _progress(runs: Sequence[Run], specs: Sequence[RunSpec], left: Sequence[RunSpec]) -> Html:
    """Progress of the sweep, in runs and in FLOPs."""
    if not specs:
        return tag(
            "p", f"Sweep under way: {format_items(len(runs), 'run')} so far.", class_="progress"
        )
    total, to_do = sum(spec.flops for spec in specs), sum(spec.flops for spec in left)
    done = len(specs) - len(left)
    share = format_percent(1 - to_do / total)
    words = f"Sweep under way: {done} of {format_items(len(specs), 'run')}, {share} of the compute."
    bar = tag(
        "progress",
        value=f"{1 - to_do / total:.4f}",
        max="1",
        aria_label="Share of the compute that is done",
    )
    return tag("div", words, bar, class_="progress")


def _early_page(runs: Sequence[Run], target: float, status: Sequence[Html], why: str) -> str:
    """Runs and progress, without an answer."""
    title = f"{format_flops(target)} FLOPs: no answer yet"
    head = tag(
        "header",
        tag("p", f"Compute-optimal training with {format_flops(target)} FLOPs", class_="eyebrow"),
        tag("h1", "No answer yet."),
        tag("p", why if runs else "The first run has not ended.", class_="lede"),
        class_="answer",
    )
    shown = [sections.runs_of(runs)] if runs else []
    return document(title, [*status, head, *shown], under_way=bool(status))
