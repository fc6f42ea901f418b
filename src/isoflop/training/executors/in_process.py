"""InProcess: trains one run after the other in this process."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from isoflop import arguments
from isoflop.errors import PlanError
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Work
from isoflop.training.executors.devices import Devices, bytes_here

__all__ = ["InProcess"]


@dataclass(frozen=True)
class InProcess:
    """Trains runs one after the other in this process.

    num_threads: CPU threads per run. The default of one equals that of a `Processes` worker, so
        both give the same losses to the last bit; on a shared machine it is rarely slower for
        small models.
    """

    num_threads: int = 1

    def __post_init__(self) -> None:
        read = arguments.whole(
            self.num_threads, "InProcess: num_threads", least=1, most=10_000, error=PlanError
        )
        object.__setattr__(self, "num_threads", read)

    def run_devices(self) -> Devices:
        return Devices(num_bytes=bytes_here())

    def map(self, work: Work, specs: list[RunSpec]) -> Iterator[Run]:
        torch = sys.modules.get(
            "torch"
        )  # loaded with the work of a task, and not by other trainers
        if torch is None:
            yield from map(work, specs)
            return
        before = torch.get_num_threads()
        torch.set_num_threads(self.num_threads)
        try:
            for spec in specs:
                yield work(spec)
        finally:
            torch.set_num_threads(before)
