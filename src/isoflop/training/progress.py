"""Display of a sweep in training: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from isoflop.display.format import (
    LONG,
    format_count,
    format_duration,
    format_flops,
    format_number,
    one_line,
)
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run
from isoflop.training.executors.contract import Progress
from isoflop.training.notices import print_notice

__all__ = ["Display", "show_progress"]


class Display:
    """Follows a sweep: FLOPs done, speed, time left, and the best loss of each budget so far.

    The time left is the predicted time of the remaining work, scaled by the actual over the
    predicted time of the work done; without a prediction, FLOPs stand for seconds.
    """

    def __init__(self, sweep: Sweep, recorded: Iterable[Run]) -> None:
        self.sweep = sweep
        self.finished = {run.id: run for run in recorded}
        self.running: dict[str, Progress] = {}
        self.started = time.perf_counter()
        self._work = _work_of(sweep)
        self._done_before = self._done()
        self._tokens_before = self._tokens_done()

    def update(self, progress: Progress) -> None:
        """Show a run's new progress."""
        self.running[progress.spec.id] = progress

    def finish(self, run: Run) -> None:
        """Show that a run has ended."""
        self.running.pop(run.id, None)
        self.finished[run.id] = run

    def flops_done(self) -> float:
        """FLOPs of ended runs, and those so far of running ones."""
        ended = sum(run.spec.flops for run in self.finished.values())
        return ended + sum(p.spec.flops_per_token * p.num_tokens for p in self.running.values())

    def tokens_per_second(self) -> float:
        """Tokens trained per second since the display began, over all workers."""
        return (self._tokens_done() - self._tokens_before) / max(
            1e-9, time.perf_counter() - self.started
        )

    def seconds_left(self) -> float | None:
        """Time to the end at the speed so far; None before any progress."""
        done = self._done()
        if done <= self._done_before:
            return None
        # branches count whole here, as they do in _done()
        left = max(0.0, sum(self._work.values()) - done)
        return left * (time.perf_counter() - self.started) / (done - self._done_before)

    def best(self) -> dict[float | None, Run]:
        """The run with the lowest loss of each budget."""
        best: dict[float | None, Run] = {}
        for run in self.finished.values():
            if run.status == "completed" and (
                run.budget not in best or run.loss < best[run.budget].loss
            ):
                best[run.budget] = run
        return best

    def summary(self) -> str:
        """One line: runs, speed, time left."""
        left = self.seconds_left()
        eta = "" if left is None else f", {format_duration(left)} left"
        num_runs = len({spec.id for spec in self.sweep.specs})
        speed = f"{format_count(self.tokens_per_second())} {self.sweep.unit}s/s"
        return f"{len(self.finished)} of {num_runs} runs, {speed}{eta}"

    def _done(self) -> float:
        """Work of ended runs, and that so far of running ones."""
        ended = sum(self._work.get(run_id, 0.0) for run_id in self.finished)
        return ended + sum(
            self._work.get(p.spec.id, 0.0) * min(1.0, p.num_tokens / p.spec.num_tokens)
            for p in self.running.values()
        )

    def _tokens_done(self) -> float:
        return sum(r.num_tokens for r in self.finished.values()) + sum(
            p.num_tokens for p in self.running.values()
        )


def _work_of(sweep: Sweep) -> dict[str, float]:
    """By run id: the predicted seconds, or the FLOPs where those of any run are unknown."""
    known = all(sweep.seconds.get(spec.id) for spec in sweep.specs)
    return {spec.id: sweep.seconds[spec.id] if known else spec.flops for spec in sweep.specs}


@contextmanager
def show_progress(
    sweep: Sweep, recorded: Iterable[Run], *, enabled: bool = True
) -> Iterator[Display]:
    """A display for the block: live on a terminal, a line per ended run elsewhere."""
    display = Display(sweep, recorded)
    if not enabled:
        yield display
        return
    console = Console(stderr=True)
    # rich alone would take a pipe for a terminal under FORCE_COLOR
    if console.is_terminal and sys.stderr.isatty():
        with Live(
            get_renderable=lambda: _drawn(display),
            console=console,
            refresh_per_second=4,
            transient=True,
        ):
            yield display
        return
    yield _Lines(sweep, display.finished.values())


class _Lines(Display):
    """A display of lines, for outputs that cannot be redrawn."""

    def finish(self, run: Run) -> None:
        super().finish(run)
        print_notice(f"{_outcome(run)}  [{self.summary()}]")


def _outcome(run: Run) -> str:
    name = f"size {one_line(run.size)}" + (f" at {format_flops(run.budget)}" if run.budget else "")
    ended = (
        f"loss {format_number(run.loss, 4)}"
        if run.status == "completed"
        else f"{run.status}, {one_line(run.error, LONG)}"
    )
    return f"{name}: {ended}"


def _drawn(display: Display) -> Group:
    bar = ProgressBar(
        total=sum(spec.flops for spec in display.sweep.specs),
        completed=display.flops_done(),
        width=60,
    )
    return Group(bar, Text(display.summary()), _running_table(display), _best_table(display))


def _running_table(display: Display) -> Table:
    table = Table("running", "size", "params", "tokens", "training loss", box=None, pad_edge=False)
    for progress in list(display.running.values()):
        spec = progress.spec
        done = f"{format_count(progress.num_tokens)} of {format_count(spec.num_tokens)}"
        budget = format_flops(spec.budget) if spec.budget else ""
        table.add_row(
            budget,
            str(spec.size),
            format_count(spec.num_params),
            done,
            format_number(progress.loss, 4),
        )
    return table


def _best_table(display: Display) -> Table:
    table = Table("budget", "runs", "best size", "params", "loss", box=None, pad_edge=False)
    for budget, run in sorted(display.best().items(), key=lambda item: item[0] or 0.0):
        ended = sum(other.budget == budget for other in display.finished.values())
        total = sum(spec.budget == budget for spec in display.sweep.specs)
        name = format_flops(budget) if budget else ""
        table.add_row(
            name,
            f"{ended}/{total}",
            str(run.size),
            format_count(run.num_params),
            format_number(run.loss, 4),
        )
    return table
