"""Work that trains nothing, in a module that loads no torch: its workers start ten times sooner."""

import os
import time
from types import MappingProxyType

import isoflop
from isoflop.training.executors.devices import GPU_VARIABLE


class Light:
    """The parts of work beside its call: it reports no progress and has no store."""

    on_progress = None
    store = None
    demands = MappingProxyType({})

    def reporting_to(self, on_progress):
        return self

    def in_worker(self, on_progress):
        return self


class Named(Light):
    """Work whose records name the GPU that its worker sees, and the number of its threads."""

    def __call__(self, spec):
        time.sleep(0.2)
        return record(spec, f"{os.environ.get(GPU_VARIABLE)} {os.environ['OMP_NUM_THREADS']}")


class Alone(Light):
    """Work whose records name its process."""

    def __call__(self, spec):
        return record(spec, str(os.getpid()))


def record(spec, device):
    return isoflop.Run(
        spec=spec, status="completed", loss=1.0, num_tokens=1, flops=1.0, device=device
    )
