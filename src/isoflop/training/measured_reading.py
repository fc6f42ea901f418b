"""Reading of a plain data set: here, until it has proved slow, then by workers on spare cores.

The batches are the same either way, so what is measured changes no result.
"""

import math
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import TensorDataset

from isoflop.training.data_workers import DataWorkers
from isoflop.training.executors.serialization import is_portable
from isoflop.training.jobs import Job
from isoflop.training.notices import print_notice
from isoflop.training.reading import read
from isoflop.user_code.data import Source, tensors_in
from isoflop.user_code.loaders import Workers

__all__ = ["read_as_needed", "with_workers"]

START_SECONDS = 3.0
"""Time spent on reading before workers are worth their start, which takes about as long."""
SLOW_BATCH = 0.005
"""Seconds per batch from which handing it between processes costs little in comparison."""
SLOW_SHARE = 0.1
"""Share of the time of steps from which reading is worth other processes."""
MOST_WORKERS = 8
MOST_BYTES = 2**28
"""Largest data set to copy to each worker: 256 MiB."""


def with_workers(source: Source, given: DataWorkers) -> Source:
    """The source with the number of workers that a call of train() requests."""
    if given.requested != "auto":
        return replace(source, workers=replace(source.workers, num_workers=given.requested))
    return replace(source, spare_cores=given.spare_cores)


def read_as_needed(source: Source, jobs: Iterable[Job]) -> Generator[object, None, None]:
    """What each job gives for a source, in order, as `read` gives it.

    A source without workers is read here until that has taken a while and slows the steps; from
    there on processes on the spare cores read it. They are spawned, since a data set that nobody
    meant for workers may hold what a fork breaks, such as an open file.
    """
    if source.workers.num_workers or not source.spare_cores or _is_in_memory(source):
        return read(source, jobs)
    return _measured(source, jobs)


@dataclass
class _Tally:
    """Seconds of reading and of the steps between, over all runs of a data set."""

    reading: float = 0.0
    training: float = 0.0
    num_batches: int = 0
    num_workers: int | None = None
    """Once decided; 0 to read here for good."""

    @property
    def is_slow(self) -> bool:
        return (
            self.reading > START_SECONDS
            and self.reading > SLOW_BATCH * self.num_batches
            and self.reading > SLOW_SHARE * (self.reading + self.training)
        )


_tallies: WeakKeyDictionary[object, _Tally] = WeakKeyDictionary()


def _measured(source: Source, jobs: Iterable[Job]) -> Generator[object, None, None]:
    tally, left = _tally_of(source), iter(jobs)
    while tally.num_workers is None:
        started = time.perf_counter()
        job = next(left, None)
        if job is None:
            return
        batch = job(source)
        read_at = time.perf_counter()
        yield batch
        tally.reading += read_at - started
        tally.training += time.perf_counter() - read_at
        tally.num_batches += 1
        if tally.is_slow:
            tally.num_workers = _decided(source, tally, batch)
    context = torch.multiprocessing.get_context("spawn")
    yield from read(replace(source, workers=Workers(tally.num_workers, context=context)), left)


def _tally_of(source: Source) -> _Tally:
    try:
        return _tallies.setdefault(source.data, _Tally())
    except TypeError:  # it cannot be referred to weakly, as a list
        return _Tally()


def _decided(source: Source, tally: _Tally, batch: object) -> int:
    """Number of workers that read as fast as steps are taken, or 0 where none can; says so."""
    share = tally.reading / (tally.reading + tally.training)
    slow = f"Reading {source.name} takes {share:.0%} of the time of runs"
    is_on_cpu = all(tensor.device.type == "cpu" for tensor in tensors_in(batch))
    if not is_on_cpu or not is_portable(source, MOST_BYTES):
        print_notice(
            f"{slow}, and it cannot be copied to other processes; give a DataLoader with "
            f"num_workers if its examples may be read by several."
        )
        return 0
    needed = math.ceil(tally.reading / max(tally.training, 1e-9))
    num_workers = min(needed, source.spare_cores, MOST_WORKERS)
    print_notice(
        f"{slow}: from here on {num_workers} further process{'es' if num_workers > 1 else ''} "
        f"read it ahead; train(data_workers=0) reads in the one that trains."
    )
    return num_workers


def _is_in_memory(source: Source) -> bool:
    return type(source.data) is TensorDataset
