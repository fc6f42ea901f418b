"""What runs in a data worker: its start, the jobs of reading, and how their errors travel."""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast  # torch's data sets are generic in it

import torch
from torch.utils.data import Dataset, get_worker_info

from isoflop.errors import first_line
from isoflop.training.executors.serialization import dump_work
from isoflop.training.jobs import Job
from isoflop.user_code.data import Source

__all__ = ["Begin", "Jobs", "Raised", "unchanged"]

GRACE_SECONDS = 10.0
"""Time that a worker goes on after SIGTERM, unless the process that trains ends it before."""


@dataclass(frozen=True)
class Jobs(Dataset[Any]):
    """In a worker: what a job gives; None if its reading is over."""

    source: Source
    current: torch.Tensor

    def __getitem__(self, key: tuple[int, Job]) -> object:
        number, job = key
        if int(self.current) != number:
            return None
        try:
            return job(self.source)
        except Exception as error:
            return Raised.of(error)

    def __reduce__(self) -> tuple[Callable[..., "Jobs"], tuple[bytes, torch.Tensor]]:
        """Spawned processes get the user's code as imported here, not as in its files by now."""
        return _jobs_of, (dump_work(self.source), self.current)


def _jobs_of(payload: bytes, current: torch.Tensor) -> Jobs:
    return Jobs(pickle.loads(payload), current)


@dataclass(frozen=True)
class Begin:
    """The start of a worker: the user's function, with the user's data set in the worker's info."""

    function: Callable[[int], object] | None

    def __call__(self, worker_id: int) -> None:
        # signals reach the whole group, but the process that trains first saves its state
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_soon)
        info = get_worker_info()
        assert info is not None
        jobs = cast(Jobs, info.dataset)
        object.__setattr__(info, "dataset", jobs.source.data)
        if self.function is not None:
            self.function(worker_id)
        if jobs.source.kind != "examples":
            # a stream, or its part, has one reader: it must not split itself among the workers
            torch.utils.data._utils.worker._worker_info = None

    def __reduce__(self) -> tuple[Callable[[bytes], "Begin"], tuple[bytes]]:
        return _begin_of, (dump_work(self.function),)


def _end_soon(number: int, frame: FrameType | None) -> None:
    timer = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()


def _begin_of(payload: bytes) -> Begin:
    return Begin(pickle.loads(payload))


def unchanged(batch: object) -> object:
    return batch


@dataclass(frozen=True)
class Raised:
    """An error of a job and the error that caused it, on their way from a worker."""

    raised: BaseException
    cause: BaseException | None

    @classmethod
    def of(cls, error: Exception) -> "Raised":
        error.add_note("In a data worker:\n" + "".join(traceback.format_exception(error)))
        return cls(_portable(error), error.__cause__ and _portable(error.__cause__))

    def error(self) -> BaseException:
        self.raised.__cause__ = self.cause
        return self.raised


def _portable(error: BaseException) -> BaseException:
    """The error if it can be pickled, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # of any kind: the user's class decides
        return RuntimeError(f"{type(error).__name__}: {first_line(error)}")
