"""Transient errors, after which a run is tried again from its checkpoint, and the waits between."""

import time
from collections.abc import Callable, Iterator

from isoflop.errors import IsoflopError, StoreError
from isoflop.training.interrupt import leave

__all__ = [
    "RETRY_SECONDS",
    "LeftAlone",
    "PassingElsewhere",
    "is_of_device",
    "is_out_of_memory",
    "is_passing",
    "pause",
]

RETRY_SECONDS = (1.0, 10.0, 60.0)
"""Waits before the second, third and last try: a server restarts within about a minute."""

_LASTING = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    StoreError,
)
"""Errors of the system that are not transient."""

_SIGNS = (
    "exited unexpectedly",
    "is killed by signal",
    "No space left on device",
    "NCCL error",
    "Connection reset",
)
"""Texts of transient RuntimeErrors: a data worker or process went away, shared memory was full."""


class PassingElsewhere(IsoflopError):
    """The processes that train a run together met transient errors only."""


class LeftAlone(IsoflopError):
    """A process failed within a step of a sharded run, and the others wait for its weights."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"{type(error).__name__}: {error}. The weights are sharded, so the other processes "
            f"cannot go on without this one; the program ends, and the same call goes on from the "
            f"last checkpoint."
        )


def is_passing(error: BaseException) -> bool:
    """Whether an error is transient: of the disk, the network, or a process that went away.

    An error caused by a transient one is transient, too.
    """
    return any(map(_passes, _causes(error)))


def is_of_device(error: BaseException) -> bool:
    """Whether an accelerator failed for the rest of this process; lack of memory does not count."""
    text = str(error)
    is_device = isinstance(error, RuntimeError) and ("CUDA error" in text or "HIP error" in text)
    return is_device and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory of the device or the machine did not suffice; a smaller batch may fit."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error))
    )


def pause(seconds: float, stop_requested: Callable[[], int | None]) -> None:
    """Wait, or leave the program as soon as a stop is requested."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if (stop := stop_requested()) is not None:
            leave(stop)
        time.sleep(min(0.2, left))


def _passes(error: BaseException) -> bool:
    if isinstance(error, OSError | PassingElsewhere):
        return not isinstance(error, _LASTING)
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, ..."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
