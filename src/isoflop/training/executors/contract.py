"""What an executor is, what all of them promise, and the parts of the promise that they share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from isoflop.errors import IsoflopError
from isoflop.runs import Run, RunSpec

__all__ = [
    "BrokenDevice",
    "Deaths",
    "Demand",
    "Executor",
    "demand_of",
    "in_worker",
    "longest_first",
    "reporting_to",
]


class BrokenDevice(IsoflopError):
    """The accelerator gives nothing but errors to this process from now on; raised by the work."""


class Executor(Protocol):
    """Anything with `map`: does the work for each spec, anywhere, and yields each spec's record once, in any order.

    Nothing else in the library knows which executor runs. Each of them promises:

    1. Every spec that is handed in comes back once, as the record that the work gave for it, as soon as there is one.
    2. The work is called where the run is trained, and writes the record to the store before it returns: whatever
       dies after that, the caller included, loses nothing.
    3. A run whose worker dies (killed, out of memory, its machine gone) is tried again `retries` times, never on two
       workers at once, and then comes back as failed with the reason. The other runs go on. A worker that raises
       `BrokenDevice` is as good as dead; any other IsoflopError, such as of a full disk, is no run's failure and is
       raised in the caller.
    4. Closing the iterator, as Ctrl-C does, asks every worker to stop, which saves a checkpoint, and waits for them:
       the same call goes on from there.
    5. `work.on_progress` is called in the caller's process, with `Progress` values and nothing else.
    6. A finished loss does not depend on the executor: bit for bit on CPUs of one kind with as many threads per run.

    tests/training/executors/test_contract.py holds every implementation to it.

    An executor may also have `run_devices()`, which tells what it has for one run (`Devices`); without it a run has one
    device of unknown memory. One that can spread a run reads in `demand_of(work, spec)` over how many devices.
    """

    def map(self, work: Callable[[RunSpec], Run], specs: list[RunSpec], /) -> Iterable[Run]: ...


@dataclass(frozen=True)
class Demand:
    """What a run is predicted to need on one device, None where that could not be told; and the devices it gets."""

    seconds: float | None = None
    memory_bytes: float | None = None
    num_devices: int = 1


def demand_of(work: Any, spec: RunSpec) -> Demand:
    """What the plan predicts for a run, if the work carries it."""
    demands: Mapping[str, Demand] = getattr(work, "demands", {})
    return demands.get(spec.id, Demand())


def longest_first(work: Any, specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The specs by falling time, so that no long run begins when the others are done; by FLOPs where times miss."""
    specs = list(specs)
    seconds = {spec.id: demand_of(work, spec).seconds for spec in specs}
    known = None not in seconds.values()
    return sorted(specs, key=lambda spec: -(seconds[spec.id] or 0.0) if known else -spec.flops)


def reporting_to(work: Any, on_progress: Callable[[Any], None] | None) -> Any:
    """The same work with its progress told to another function, or to nobody: functions of the caller cannot travel."""
    return replace(work, on_progress=on_progress) if hasattr(work, "on_progress") else work


def in_worker(work: Any, on_progress: Callable[[Any], None]) -> Any:
    """The same work in a process of its own, which may be ended where a run hangs."""
    told = reporting_to(work, on_progress)
    return replace(told, expendable=True) if hasattr(told, "expendable") else told


@dataclass
class Deaths:
    """Counts how often the worker of each run died."""

    retries: int
    of: dict[str, int] = field(default_factory=dict)

    def again(self, spec: RunSpec) -> bool:
        """Note a death; True when the run may be tried again."""
        self.of[spec.id] = self.of.get(spec.id, 0) + 1
        return self.of[spec.id] <= self.retries

    def failed(self, spec: RunSpec, reason: str) -> Run:
        """The record of a run that was tried often enough."""
        times = self.of[spec.id]
        told = f"its worker died {times} time{'s' if times != 1 else ''}, last with {reason}"
        return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=told)
