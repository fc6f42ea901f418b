"""Processes: a pool of worker processes on this machine, each with one run at a time."""

import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from isoflop import arguments
from isoflop.counting.cores import num_cores
from isoflop.errors import PlanError
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Deaths, OnProgress, Work, longest_first
from isoflop.training.executors.devices import Devices, bytes_here, visible_gpus
from isoflop.training.executors.serialization import dump_work, without_main
from isoflop.training.executors.worker import Message, serve

__all__ = ["Processes"]

MOST = 10_000
"""Workers, threads or tries; more are a slip of the pen."""

STOP_SECONDS = 20.0
"""Time that workers have to save their checkpoints when the pool is stopped."""

FAILED_STARTS = 3
"""Workers in a row that die before they can take a run; the next one would die, too."""


@dataclass(frozen=True)
class Processes:
    """Trains runs in worker processes of this machine, longest first, each run on one worker.

    num_workers: None for `runs_per_device` per GPU, or without a GPU one per CPU core.
    num_threads: CPU threads per run.
    retries: number of further tries of a run whose worker died (killed, out of memory); after the
        last one the run is recorded as failed.
    runs_per_device: number of runs that share a GPU; a tiny run leaves most of it idle.

    Workers are spawned, never forked, and get their GPU before they load torch, so the caller may
    have used CUDA. They stay warm from run to run and end with the caller. A program needs no
    `if __name__ == "__main__"`, and may be a script, a notebook or `python -c`: its own
    definitions are sent by value, and its `__main__` is not imported again.
    """

    num_workers: int | None = None
    num_threads: int = 1
    retries: int = 1
    runs_per_device: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("num_workers", 1),
            ("num_threads", 1),
            ("runs_per_device", 1),
            ("retries", 0),
        ):
            value = getattr(self, name)
            if value is not None or name != "num_workers":
                read = arguments.whole(
                    value, f"Processes: {name}", least=least, most=MOST, error=PlanError
                )
                object.__setattr__(self, name, read)

    def run_devices(self) -> Devices:
        return Devices(num_bytes=bytes_here())

    def at_once(self) -> int:
        """Number of runs that it trains at the same time, if there are as many."""
        return (
            self.num_workers
            or len(visible_gpus()) * self.runs_per_device
            or max(1, num_cores() // self.num_threads)
        )

    def map(self, work: Work, specs: list[RunSpec]) -> Iterator[Run]:
        if not specs:
            return
        gpus = visible_gpus()
        slots: list[str | None] = [
            gpus[k % len(gpus)] if gpus else None for k in range(min(self.at_once(), len(specs)))
        ]
        payload = dump_work(work.reporting_to(None))
        pool = _Pool(payload, slots, self.num_threads, Deaths(self.retries), work.on_progress)
        try:
            yield from pool.run(longest_first(work, specs))
        finally:
            pool.stop()


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    is_ready: bool = False
    reason: str = ""
    """The worker's own reason for its end, if it sent one."""
    spec: RunSpec | None = None


@dataclass
class _Pool:
    payload: bytes
    slots: list[str | None]
    """The GPU of each worker; a worker's replacement has the same."""
    num_threads: int
    deaths: Deaths
    on_progress: OnProgress | None
    workers: dict[int, _Worker] = field(default_factory=dict)
    failed_starts: int = 0

    def run(self, todo: list[RunSpec]) -> Iterator[Run]:
        num_left = len(todo)
        while num_left:
            self._fill(todo)
            for slot in self._ready():
                run = self._receive(slot, todo)
                if run is not None:
                    num_left -= 1
                    yield run

    def stop(self) -> None:
        """Make the workers save and end; kill those that have not ended after STOP_SECONDS."""
        for worker in self.workers.values():
            if worker.spec is None:
                worker.pipe.close()  # an idle worker ends when its pipe does
            else:
                worker.process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for worker in self.workers.values():
            worker.process.join(max(0.0, end - time.monotonic()))
            worker.process.kill()
            worker.process.join()
            worker.process.close()
            worker.pipe.close()
        self.workers.clear()

    def _fill(self, todo: list[RunSpec]) -> None:
        for slot in range(len(self.slots)):
            worker = self.workers.get(slot)
            if todo and (worker is None or worker.spec is None):
                self._send(self._living(slot), todo.pop(0))

    def _living(self, slot: int) -> _Worker:
        """The worker of a slot; a new one if there is none or it died while it was idle."""
        worker = self.workers.get(slot)
        if worker is not None and not worker.process.is_alive():
            worker.pipe.close()
            worker = None
        return worker or self._start(slot)

    def _send(self, worker: _Worker, spec: RunSpec) -> None:
        worker.spec = spec
        with suppress(OSError):  # it died just now: _receive handles it
            worker.pipe.send(spec)

    def _start(self, slot: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        handed = (theirs, self.slots[slot], self.num_threads, list(sys.path))
        with without_main():
            process = context.Process(
                target=serve, args=handed, daemon=True, name=f"isoflop-{slot}"
            )
            process.start()
        theirs.close()
        with suppress(OSError):
            ours.send(self.payload)
        self.workers[slot] = _Worker(process, ours)
        return self.workers[slot]

    def _ready(self) -> list[int]:
        pipes = {
            worker.pipe: slot for slot, worker in self.workers.items() if worker.spec is not None
        }
        return [pipes[pipe] for pipe in wait(list(pipes))]  # type: ignore[index]

    def _receive(self, slot: int, todo: list[RunSpec]) -> Run | None:
        """Handle a message of the worker in a slot; the run if the message is a finished run."""
        worker = self.workers[slot]
        try:
            message: Message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace_dead(slot, todo)
        match message:
            case ("broken", reason):
                raise PlanError(f"A worker process cannot load the task: {reason}.")
            case ("refused", error):
                raise error
            case ("dying", reason):
                worker.reason = reason
            case ("ready", _):
                worker.is_ready, self.failed_starts = True, 0
            case ("progress", progress):
                if self.on_progress is not None:
                    self.on_progress(progress)
            case ("done", run):
                worker.spec = None
                return run
        return None

    def _replace_dead(self, slot: int, todo: list[RunSpec]) -> Run | None:
        """After a worker's death, put its run back to `todo`, or return its failed record."""
        worker = self.workers.pop(slot)
        worker.pipe.close()
        worker.process.join(STOP_SECONDS)
        reason = worker.reason or f"exit code {worker.process.exitcode}"
        assert worker.spec is not None
        if not worker.is_ready:
            self._count_failed_start(reason)
        elif not self.deaths.may_retry(worker.spec):
            return self.deaths.failed_run(worker.spec, reason)
        todo.insert(0, worker.spec)
        return None

    def _count_failed_start(self, reason: str) -> None:
        self.failed_starts += 1
        if self.failed_starts >= FAILED_STARTS:
            raise PlanError(
                f"{FAILED_STARTS} worker processes in a row died while they loaded the task, last "
                f"with {reason} (-9 is often a lack of memory); use fewer workers, or train with "
                f"InProcess() to see why."
            )
