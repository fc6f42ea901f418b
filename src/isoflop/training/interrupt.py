"""Requests to stop (Ctrl-C, SIGTERM) as a flag, read between steps, when the state is whole."""

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
    "raised_stops",
    "stop_requests",
    "terminated_as_exit",
]

EXIT_PREEMPTED = 75
"""Exit code after SIGTERM with everything saved (EX_TEMPFAIL of sysexits.h: try again)."""


_noting: list[Callable[..., None]] = []
"""Handlers that turn signals into flags; the last one is in force."""
_errors: list[BaseException] = []
"""Errors for the next signal to raise."""


def leave(stop: int) -> NoReturn:
    """Raise SystemExit(75) for SIGTERM, KeyboardInterrupt for any other signal."""
    if stop == signal.SIGTERM:
        raise SystemExit(EXIT_PREEMPTED)
    raise KeyboardInterrupt


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """A function that returns the signal that requested a stop, or None; 2 x Ctrl-C stops at once.

    Signals reach only the main thread; in other threads the function always returns None.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if _errors:
            raise _errors.pop()
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with _handled_by(note):
        yield lambda: received[0] if received else None


@contextmanager
def raised_stops() -> Iterator[Callable[[], int | None]]:
    """As `stop_requests`, but a signal also ends what is under way, as in any Python program.

    SIGINT raises KeyboardInterrupt, SIGTERM raises SystemExit(75).
    """
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        leave(number)

    with _handled_by(end):
        yield lambda: received[0] if received else None


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """A block in which a handler receives SIGINT and SIGTERM, if this is the main thread."""
    if not _is_main():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    _noting.append(handler)
    try:
        yield
    finally:
        _noting.pop()
        for number, own in before.items():
            signal.signal(number, own)


def is_stop(error: BaseException, stop: int | None) -> bool:
    """Whether an error stops a run; otherwise the user's code raised it, as by `sys.exit`.

    If that code has replaced our signal handler with its own, errors of its handler count as stops.
    """
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        return False
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
    return stop is not None or (_is_main() and signal.getsignal(number) not in _noting)


def interrupt_run(thread: int, error: BaseException) -> bool:
    """Raise an error in the run of the main thread; False if our signal handler is not in force."""
    main = threading.main_thread().ident
    if thread != main or signal.getsignal(signal.SIGTERM) not in _noting:
        return False
    _errors.append(error)
    signal.pthread_kill(thread, signal.SIGTERM)  # to the thread, to leave a call it waits in
    return True


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Inside the block SIGTERM raises SystemExit(75), so that workers save before the end."""

    def end(number: int, frame: FrameType | None) -> None:
        leave(number)

    if not _is_main():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
