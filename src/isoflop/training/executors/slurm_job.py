"""What a Slurm job does with one run, and how it is saved and requeued when the cluster takes its node away."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop.errors import PlanError, StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.atomic import write_text
from isoflop.training.executors.contract import in_worker
from isoflop.training.interrupt import terminated_as_exit

__all__ = ["Job"]

TELL_SECONDS = 2.0
"""Progress is written at most so often: shared storage is slow."""


@dataclass(frozen=True)
class Job:
    """Called on the node with a spec; gives its record. submitit calls `checkpoint` for what to requeue."""

    payload: Path
    num_threads: int

    def __call__(self, spec: RunSpec) -> Run:
        _join_tasks()
        work = self._load()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.num_threads)
        with _requeued_when_preempted():
            run: Run = in_worker(work, _Teller(self.progress(spec)))(spec)
        return run

    def checkpoint(self, spec: RunSpec) -> Any:
        """The same again: it goes on from the checkpoint in the store."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, spec)

    def progress(self, spec: RunSpec) -> Path:
        """The file that tells how far a run is: `[tokens, loss]`."""
        return self.payload.with_suffix("") / f"{spec.id}.json"

    def _load(self) -> Any:
        import cloudpickle

        try:
            return cloudpickle.loads(self.payload.read_bytes())
        except Exception as error:
            raise PlanError(
                f"a Slurm job cannot load the task ({type(error).__name__}: {error})"
            ) from error


class _Teller:
    """Writes a run's progress now and then."""

    def __init__(self, path: Path) -> None:
        self._path, self._told = path, -TELL_SECONDS

    def __call__(self, progress: Any) -> None:
        if time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            with suppress(StoreError):  # a full disk: how far a run is may be told later
                write_text(self._path, json.dumps([progress.num_tokens, progress.loss]))


def _join_tasks() -> None:
    """Let the tasks of a job with several find each other, as those of `torchrun` do."""
    from submitit.core.job_environment import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    if JobEnvironment().num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


@contextmanager
def _requeued_when_preempted() -> Iterator[None]:
    """Inside the block the cluster's warning stops the run between two steps, which saves it, and then requeues."""
    from submitit.core.job_environment import JobEnvironment

    warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
    requeue: Callable[..., Any] = signal.getsignal(warning)  # type: ignore[assignment]
    warned: list[int] = []

    def save(number: int, frame: Any) -> None:
        warned.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(warning, save)
    try:
        with terminated_as_exit():
            yield
    except SystemExit:
        if warned:
            requeue(warning, None)
        raise
    finally:
        signal.signal(warning, requeue)
