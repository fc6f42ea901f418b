"""Notices a run that makes no step for long, says where it stands, and ends it where that is asked for."""

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

SAY_SECONDS = 600.0
"""Without a step before it is said; `torch.compile` may take minutes for the first one."""
GRACE_SECONDS = 10.0
"""What a run has to end by itself before its worker does; less where it is ended earlier than that."""
EXIT_HUNG = 70
"""Exit code of a worker that could not end its run otherwise (EX_SOFTWARE of sysexits.h)."""

_beats: dict[int, float] = {}
"""By thread: when its run last made a step."""


class Hung(BaseException):
    """Raised in a run that made no step for too long; no Exception, so that no code of the user's holds it back."""


def beat() -> None:
    """Note that the run of this thread has come further."""
    _beats[threading.get_ident()] = time.monotonic()


@contextmanager
def watched(
    spec: RunSpec, end_seconds: float | None, abandon: Callable[[Hung], None] | None
) -> Iterator[None]:
    """Watch over the run of this thread while the block runs.

    end_seconds: without a step after which Hung is raised in the run; None for never.
    abandon: called before this process ends because the run cannot be ended otherwise; None where it must not end.
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
        """After this no Hung is raised any more."""
        with self.lock:
            self.over.set()
        time.sleep(0)  # one that is on its way arrives here, inside the block

    def run(self) -> None:
        say_after = min(SAY_SECONDS, self.end_seconds or SAY_SECONDS)
        tick = min(1.0, say_after / 5)
        seen, quiet, next_said = _beats[self.thread], 0.0, say_after
        while not self.over.wait(tick):
            if _beats[self.thread] != seen:
                seen, quiet, next_said = _beats[self.thread], 0.0, say_after
                continue
            quiet += tick  # not by the clock: a program that was suspended for an hour made no step because of that
            if self.end_seconds is not None and quiet >= self.end_seconds:
                self._end(quiet, min(GRACE_SECONDS, self.end_seconds))
                quiet = 0.0
            elif quiet >= next_said:
                next_said *= 2
                self._say(
                    f"no step for {format_duration(quiet)}, now {self._place()}; it is waited for: Ctrl-C twice stops "
                    f"here, and train(hang_seconds=...) ends such runs by itself"
                )

    def _end(self, quiet: float, grace: float) -> None:
        hung = Hung(f"no step for {format_duration(quiet)}, {self._place()}")
        with self.lock:
            if self.over.is_set():
                return
            interrupted = interrupt_run(self.thread, hung)
        if interrupted and self.over.wait(grace):
            return
        if self.abandon is None:
            self._say(f"{hung}, and cannot be ended from inside; stop the program")
            return
        self.abandon(hung)
        self._say(f"{hung}; its worker is ended")
        os._exit(EXIT_HUNG)

    def _place(self) -> str:
        """Where the run stands: the innermost line of the user's own."""
        frame = sys._current_frames().get(self.thread)
        lines = traceback.extract_stack(frame) if frame is not None else []
        own = [line for line in lines if not lies_among_libraries(line.filename)]
        at = (own or lines)[-1:]
        return (
            f"in {at[0].name}, {Path(at[0].filename).name} line {at[0].lineno}" if at else "nowhere"
        )

    def _say(self, told: str) -> None:
        name = f"size {self.spec.size}"
        name += f" at {format_flops(self.spec.budget)}" if self.spec.budget else ""
        print(f"isoflop: {name} ({self.spec.id}): {told}.", file=sys.__stderr__, flush=True)
