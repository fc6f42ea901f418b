"""A request to stop (Ctrl-C, SIGTERM) as a flag that the loop looks at between steps, where its state is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = [
    "EXIT_PREEMPTED",
    "interrupt_run",
    "is_stop",
    "leave",
    "stop_requests",
    "terminated_as_exit",
]

EXIT_PREEMPTED = 75
"""Exit code after SIGTERM with everything saved (EX_TEMPFAIL of sysexits.h: try again)."""


_noting: list[Callable[..., None]] = []
"""Handlers that take signals as flags, the one in force last."""
_errors: list[BaseException] = []
"""To be raised by the next signal."""


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
        if _errors:
            raise _errors.pop()
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if not _is_main():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    _noting.append(note)
    try:
        yield lambda: received[0] if received else None
    finally:
        _noting.pop()
        for number, handler in before.items():
            signal.signal(number, handler)


def is_stop(error: BaseException, stop: int | None) -> bool:
    """Whether an error is how a run is stopped; otherwise the user's code raised it, as by `sys.exit`.

    Where that code has put its own handler in place of ours, what the handler raises is taken for a stop.
    """
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        return False
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
    return stop is not None or (_is_main() and signal.getsignal(number) not in _noting)


def interrupt_run(thread: int, error: BaseException) -> bool:
    """Raise an error in the run of the main thread, wherever it is; False where none of its signals is ours."""
    main = threading.main_thread().ident
    if thread != main or signal.getsignal(signal.SIGTERM) not in _noting:
        return False
    _errors.append(error)
    signal.pthread_kill(
        thread, signal.SIGTERM
    )  # to that thread, so that a call it waits in is left
    return True


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Inside the block SIGTERM raises SystemExit(75), so that workers are asked to save before the program ends."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_PREEMPTED)

    if not _is_main():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
