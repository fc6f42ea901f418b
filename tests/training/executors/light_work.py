"""Work that trains nothing, in a module that loads no torch: its workers start ten times sooner."""

import os
import pickle
import signal
import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Deadly(Light):
    """Work whose worker is killed: at one size the first time, at another one always. The others load and do `trains`."""

    trains: bytes
    folder: str
    once: int
    always: int

    def __call__(self, spec):
        deaths = os.path.join(self.folder, "deaths")
        os.makedirs(deaths, exist_ok=True)
        times = sum(name.startswith(spec.id) for name in os.listdir(deaths))
        if spec.size == self.always or (spec.size == self.once and times == 0):
            open(os.path.join(deaths, f"{spec.id}-{times}"), "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return pickle.loads(self.trains)(spec)


def record(spec, device):
    return isoflop.Run(
        spec=spec, status="completed", loss=1.0, num_tokens=1, flops=1.0, device=device
    )
