"""Watches for a run without a step for long, reports its position, and ends it if requested."""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from isoflop.display.format import format_duration, format_flops
from isoflop.libraries import lies_among_libraries
from isoflop.runs import RunSpec
from isoflop.training.interrupt import interrupt_run

__all__ = ["Hung", "beat", "watched"]

REPORT_SECONDS = 600.0
"""Time without a step before a report; `torch.compile` may take minutes for the first one."""
GRACE_SECONDS = 10.0
"""Time that a run has to end by itself before its worker is ended; at most `end_seconds`."""
EXIT_HUNG = 70
"""Exit code of a worker that could not end its run in another way (EX_SOFTWARE of sysexits.h)."""

_beats: dict[int, float] = {}
"""By thread: the time of its run's last step."""


class Hung(BaseException):
    """Raised in a run without a step for too long; no Exception, so user code cannot catch it."""


def beat() -> None:
    """Record that the run of this thread has taken a step."""
    _beats[threading.get_ident()] = time.monotonic()


@contextmanager
def watched(
    spec: RunSpec, end_seconds: float | None, abandon: Callable[[Hung], None] | None
) -> Iterator[None]:
    """Watch over the run of this thread while the block runs.

    end_seconds: time without a step after which Hung is raised in the run; None for never.
    abandon: called before this process ends because the run ends in no other way; None if the
        process must not end.
    """
    beat()
    watch = _Watch(spec, threading.get_ident(), end_seconds, abandon)
    thread = threading.Thread(target=watch.run, daemon=True, name=f"isoflop-watch-{spec.id}")
    thread.start()
    try:
        yield
    finally:
        watch.close()


@dataclass
class _Watch:
    spec: RunSpec
    thread: int
    end_seconds: float | None
    abandon: Callable[[Hung], None] | None
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Stop watching: no Hung is raised after this."""
        with self.lock:
            self.over.set()
        time.sleep(0)  # a Hung raised just now arrives here, inside the block

    def run(self) -> None:
        report_after = min(REPORT_SECONDS, self.end_seconds or REPORT_SECONDS)
        tick = min(1.0, report_after / 5)
        seen, quiet, next_report = _beats[self.thread], 0.0, report_after
        while not self.over.wait(tick):
            if _beats[self.thread] != seen:
                seen, quiet, next_report = _beats[self.thread], 0.0, report_after
                continue
            quiet += tick  # not by the clock: a suspended program takes no step, either
            if self.end_seconds is not None and quiet >= self.end_seconds:
                self._end(quiet, min(GRACE_SECONDS, self.end_seconds))
                quiet = 0.0
            elif quiet >= next_report:
                next_report *= 2
                self._report(
                    f"no step for {format_duration(quiet)}, now {self._position()}; "
                    f"isoflop keeps waiting: press Ctrl-C twice to stop here, or end such runs "
                    f"with train(hang_seconds=...)"
                )

    def _end(self, quiet: float, grace: float) -> None:
        hung = Hung(f"no step for {format_duration(quiet)}, {self._position()}")
        with self.lock:
            if self.over.is_set():
                return
            interrupted = interrupt_run(self.thread, hung)
        if interrupted and self.over.wait(grace):
            return
        if self.abandon is None:
            self._report(f"{hung}, and cannot be ended from inside; stop the program")
            return
        self.abandon(hung)
        self._report(f"{hung}; its worker is ended")
        os._exit(EXIT_HUNG)

    def _position(self) -> str:
        """The innermost line of the user's own code in the run's stack."""
        frame = sys._current_frames().get(self.thread)
        lines = traceback.extract_stack(frame) if frame is not None else []
        own = [line for line in lines if not lies_among_libraries(line.filename)]
        at = (own or lines)[-1:]
        return (
            f"in {at[0].name}, {Path(at[0].filename).name} line {at[0].lineno}" if at else "nowhere"
        )

    def _report(self, text: str) -> None:
        name = f"size {self.spec.size}"
        name += f" at {format_flops(self.spec.budget)}" if self.spec.budget else ""
        print(f"isoflop: {name} ({self.spec.id}): {text}.", file=sys.__stderr__, flush=True)
