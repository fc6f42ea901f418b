"""The work of a Slurm job: one run, saved and requeued when the cluster takes its node away."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from isoflop.errors import PlanError, StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.atomic import write_text
from isoflop.training.executors.contract import Progress, Work
from isoflop.training.interrupt import terminated_as_exit

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

__all__ = ["Job"]

WRITE_SECONDS = 2.0
"""Least interval between two writes of progress: shared storage is slow."""


@dataclass(frozen=True)
class Job:
    """Called on the node with a spec; returns its record. submitit requeues `checkpoint(spec)`."""

    payload: Path
    num_threads: int

    def __call__(self, spec: RunSpec) -> Run:
        _join_tasks()
        work = self._load()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.num_threads)
        with _requeued_when_preempted():
            return work.in_worker(_ProgressFile(self.progress(spec)))(spec)

    def checkpoint(self, spec: RunSpec) -> "DelayedSubmission":
        """The same job, which continues from the checkpoint in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, spec)

    def progress(self, spec: RunSpec) -> Path:
        """The file with the progress of a run: `[tokens, loss]`."""
        return self.payload.with_suffix("") / f"{spec.id}.json"

    def _load(self) -> Work:
        import cloudpickle

        try:
            work: Work = cloudpickle.loads(self.payload.read_bytes())
        except Exception as error:
            raise PlanError(
                f"a Slurm job cannot load the task ({type(error).__name__}: {error})"
            ) from error
        return work


class _ProgressFile:
    """Writes a run's progress to a file, at most every WRITE_SECONDS."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, -WRITE_SECONDS

    def __call__(self, progress: "Progress") -> None:
        if time.monotonic() - self._written > WRITE_SECONDS:
            self._written = time.monotonic()
            with suppress(StoreError):  # a full disk: a later write may succeed
                write_text(self._path, json.dumps([progress.num_tokens, progress.loss]))


def _join_tasks() -> None:
    """Let several tasks of one job find each other, as those of `torchrun` do."""
    from submitit.core.job_environment import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    if JobEnvironment().num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


@contextmanager
def _requeued_when_preempted() -> Iterator[None]:
    """Inside the block the cluster's warning saves the run between two steps and requeues it."""
    from submitit.core.job_environment import JobEnvironment

    warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
    requeue = signal.getsignal(warning)
    warned: list[int] = []

    def save(number: int, frame: FrameType | None) -> None:
        warned.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(warning, save)
    try:
        with terminated_as_exit():
            yield
    except SystemExit:
        if warned and callable(requeue):
            requeue(warning, None)
        raise
    finally:
        signal.signal(warning, requeue)
