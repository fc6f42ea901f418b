"""Which errors pass, so that a run that met one is tried again from its checkpoint, and when."""

import time
from collections.abc import Callable, Iterator

import torch

from isoflop.errors import IsoflopError, StoreError
from isoflop.training.interrupt import leave

__all__ = ["RETRY_SECONDS", "PassingElsewhere", "is_of_device", "is_passing", "pause"]

RETRY_SECONDS = (1.0, 10.0, 60.0)
"""Before the second try, the third, and the last: a server that starts again takes about a minute."""

_LASTING = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    StoreError,
)
"""Errors of the system that the next try meets too."""

_SIGNS = (
    "exited unexpectedly",
    "is killed by signal",
    "No space left on device",
    "NCCL error",
    "Connection reset",
)
"""In the text of a RuntimeError: a data worker or another process that went away, and shared memory that was full."""


class PassingElsewhere(IsoflopError):
    """All errors of the processes that train a run together pass."""


def is_passing(error: BaseException) -> bool:
    """Whether the same may go well the next time: an error of the disk, the network, or a process that went away.

    An error that was raised because of such a one passes too.
    """
    return any(map(_passes, _causes(error)))


def is_of_device(error: BaseException) -> bool:
    """Whether an accelerator failed, after which a process cannot use it any more; a lack of memory is none."""
    told = str(error)
    is_device = isinstance(error, RuntimeError) and ("CUDA error" in told or "HIP error" in told)
    return (
        is_device and not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in told
    )


def pause(seconds: float, stop_requested: Callable[[], int | None]) -> None:
    """Wait; where the program is asked to stop meanwhile it does."""
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
    """The error, what it was raised from, what that was raised from, ..."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
