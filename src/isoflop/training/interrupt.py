"""A request to stop (Ctrl-C, SIGTERM) as a flag that the loop looks at between steps, where its state is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["EXIT_PREEMPTED", "leave", "stop_requests", "terminated_as_exit"]

EXIT_PREEMPTED = 75
"""Exit code after SIGTERM with everything saved (EX_TEMPFAIL of sysexits.h: try again)."""


def leave(stop: int) -> NoReturn:
    """End the program the way the signal asked for: SystemExit(75) for SIGTERM, else KeyboardInterrupt."""
    if stop == signal.SIGTERM:
        raise SystemExit(EXIT_PREEMPTED)
    raise KeyboardInterrupt


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """A function that gives the signal that asked to stop, or None; a second Ctrl-C stops at once.

    Signals reach only the main thread; elsewhere the function always gives None.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Inside the block SIGTERM raises SystemExit(75), so that workers are asked to save before the program ends."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_PREEMPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
