"""The contract of executors: the work they are handed, what they promise, and shared parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from isoflop.counting.run_seconds import CHECKPOINT_SECONDS
from isoflop.errors import IsoflopError
from isoflop.runs import Run, RunSpec

if TYPE_CHECKING:
    from isoflop.storage.store import Store

__all__ = [
    "CHECKPOINT_SECONDS",
    "BrokenDevice",
    "Deaths",
    "Demand",
    "Executor",
    "OnProgress",
    "Progress",
    "Work",
    "demand_of",
    "longest_first",
]


class BrokenDevice(IsoflopError):
    """Raised by the work when every later call to the accelerator in this process will fail."""


@dataclass(frozen=True)
class Progress:
    """Progress of a run: tokens trained of `spec.num_tokens`, and the recent training loss."""

    spec: RunSpec
    num_tokens: float
    loss: float


class OnProgress(Protocol):
    """A function that receives the progress of runs."""

    def __call__(self, progress: Progress, /) -> object: ...


class Work(Protocol):
    """What an executor does with each spec: calling it trains the run and returns its record.

    on_progress: receives the progress of runs in the caller's process; None for nobody.
    demands: by run id, what the plan predicts. A run without an entry has `Demand()`.
    store: where the work writes its records.
    """

    @property
    def on_progress(self) -> OnProgress | None: ...

    @property
    def demands(self) -> Mapping[str, Demand]: ...

    @property
    def store(self) -> Store: ...

    def __call__(self, spec: RunSpec, /) -> Run: ...

    def reporting_to(self, on_progress: OnProgress | None, /) -> Work:
        """The same work with another receiver of progress; the caller's own cannot be pickled."""

    def in_worker(self, on_progress: OnProgress, /) -> Work:
        """The same work for a worker process, which may be ended when a run hangs."""


class Executor(Protocol):
    """Anything with `map`, which does the work for each spec and yields each record once.

    The work may be done anywhere, and records may come in any order. Nothing else in the library
    knows which executor runs. Every executor promises:

    1. Every spec comes back once, as the record that the work returned, as soon as that exists.
    2. The work is called where the run is trained, and writes the record to the store before it
       returns. If anything dies after that, the caller included, nothing is lost.
    3. If a worker dies (killed, out of memory, machine gone), its run is tried again `retries`
       times, never on two workers at once, and then comes back as failed with the reason. The
       other runs go on. A worker that raises `BrokenDevice` counts as dead. Any other
       IsoflopError, such as a full disk, is not a failure of the run and is raised in the caller.
    4. Closing the iterator, as Ctrl-C does, makes every worker save a checkpoint and stop, and
       waits for all of them. The same call continues from there.
    5. `work.on_progress` is called in the caller's process, only ever with `Progress` values.
    6. A finished loss does not depend on the executor: it is equal bit for bit on CPUs of one
       kind with the same number of threads per run.

    tests/training/executors/test_contract.py holds every implementation to these promises.

    An executor may also have a method `run_devices()`, which returns the `Devices` available to
    one run; without it a run has one device of unknown memory. An executor that can spread a run
    over devices reads their number from `demand_of(work, spec)`.
    """

    def map(self, work: Work, specs: list[RunSpec], /) -> Iterable[Run]: ...


@dataclass(frozen=True)
class Demand:
    """Predicted needs of a run on one device (None: unknown), and how it is spread.

    num_devices: number of devices that train it together.
    sharded: whether each of them stores a part of the weights and states, instead of all.
    """

    seconds: float | None = None
    memory_bytes: float | None = None
    num_devices: int = 1
    sharded: bool = False


def demand_of(work: Work, spec: RunSpec) -> Demand:
    """What the plan predicts for a run."""
    return work.demands.get(spec.id, Demand())


def longest_first(work: Work, specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The specs by falling predicted time, or by FLOPs if any time is unknown.

    No long run then begins when the others are done.
    """
    specs = list(specs)
    seconds = {spec.id: demand_of(work, spec).seconds for spec in specs}
    known = None not in seconds.values()
    return sorted(specs, key=lambda spec: -(seconds[spec.id] or 0.0) if known else -spec.flops)


@dataclass
class Deaths:
    """Counts how often the worker of each run died."""

    retries: int
    counts: dict[str, int] = field(default_factory=dict)

    def may_retry(self, spec: RunSpec) -> bool:
        """Count one more death; True if the run may be tried again."""
        self.counts[spec.id] = self.counts.get(spec.id, 0) + 1
        return self.counts[spec.id] <= self.retries

    def failed_run(self, spec: RunSpec, reason: str) -> Run:
        """The record of a run that has no retry left."""
        times = self.counts[spec.id]
        error = f"its worker died {times} time{'s' if times != 1 else ''}, last with {reason}"
        return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=error)
