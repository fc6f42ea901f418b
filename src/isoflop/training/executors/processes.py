"""Processes: a pool of worker processes, each with one thread and one run at a time.

This module is what a worker imports first, so it imports neither torch nor the caller's `__main__`: the work arrives by
value (cloudpickle), and a program needs no `if __name__ == "__main__"` guard.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from isoflop.errors import PlanError
from isoflop.runs import Run, RunSpec

__all__ = ["Processes"]

STOP_SECONDS = 20.0
"""What a worker has to save its checkpoint when the pool is stopped."""

Message = tuple[str, Any]
"""From a worker: ("progress", Progress), ("done", Run) or ("broken", text)."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    spec: RunSpec | None = None


@dataclass(frozen=True)
class Processes:
    """Trains runs in a pool of worker processes, longest first, each run on one worker.

    num_workers: None for one per GPU, or one per CPU core where there is no GPU. Workers are spawned, stay warm from
        run to run, compute on `num_threads` threads, see one GPU each, and end when this process does.
    retries: how often a run is tried again whose worker died (killed, out of memory); then it is recorded as failed.
    """

    num_workers: int | None = None
    num_threads: int = 1
    retries: int = 1

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise PlanError(f"Processes needs at least 1 worker, but got {self.num_workers}.")

    def map(self, work: Callable[[RunSpec], Run], specs: list[RunSpec]) -> Iterator[Run]:
        on_progress = getattr(work, "on_progress", None)
        num_workers = min(self.num_workers or _default_workers(), len(specs))
        payload = _by_value(replace(work, on_progress=None) if on_progress is not None else work)  # type: ignore[type-var]
        pool = _Pool(payload, num_workers, self.num_threads, self.retries, on_progress)
        try:
            yield from pool.run(sorted(specs, key=lambda spec: -spec.flops))
        finally:
            pool.stop()


@dataclass
class _Pool:
    payload: bytes
    num_workers: int
    num_threads: int
    retries: int
    on_progress: Callable[[Any], None] | None
    workers: dict[int, _Worker] = field(default_factory=dict)
    """By slot; a slot keeps its GPU when its worker is replaced."""
    deaths: dict[str, int] = field(default_factory=dict)

    def run(self, todo: list[RunSpec]) -> Iterator[Run]:
        todo = list(todo)
        num_left = len(todo)
        while num_left:
            self._fill(todo)
            for slot in self._ready():
                run = self._hear(slot, todo)
                if run is not None:
                    num_left -= 1
                    yield run

    def stop(self) -> None:
        """Ask the workers to save and end; kill those that do not."""
        for worker in self.workers.values():
            if worker.spec is None:
                worker.pipe.close()  # an idle worker ends when its pipe does
            elif worker.process.is_alive():
                worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join(STOP_SECONDS)
            worker.process.kill()
        self.workers.clear()

    def _fill(self, todo: list[RunSpec]) -> None:
        for slot in range(self.num_workers):
            if not todo:
                return
            worker = self.workers.get(slot) or self._start(slot)
            if worker.spec is None:
                worker.spec = todo.pop(0)
                with suppress(OSError):  # a worker that died idle is found by _ready
                    worker.pipe.send(worker.spec)

    def _start(self, slot: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with _without_main():
            process = context.Process(
                target=_serve,
                args=(theirs, slot, self.num_threads, list(sys.path)),
                daemon=True,
                name=f"isoflop-{slot}",
            )
            process.start()
        theirs.close()
        with suppress(OSError):
            ours.send(self.payload)
        self.workers[slot] = _Worker(process, ours)
        return self.workers[slot]

    def _ready(self) -> list[int]:
        pipes = {worker.pipe: slot for slot, worker in self.workers.items() if worker.spec is not None}
        return [pipes[pipe] for pipe in wait(list(pipes))]  # type: ignore[index]

    def _hear(self, slot: int, todo: list[RunSpec]) -> Run | None:
        """A finished run, if that is what the worker in this slot has to say."""
        worker = self.workers[slot]
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(slot, todo)
        if kind == "progress" and self.on_progress is not None:
            self.on_progress(content)
        if kind == "broken":
            raise PlanError(f"A worker process cannot load the task: {content}.")
        if kind != "done":
            return None
        worker.spec = None
        finished: Run = content
        return finished

    def _bury(self, slot: int, todo: list[RunSpec]) -> Run | None:
        """After a worker's death: its run is tried again, or recorded as failed."""
        worker = self.workers.pop(slot)
        worker.process.join(STOP_SECONDS)
        spec = worker.spec
        assert spec is not None
        self.deaths[spec.id] = self.deaths.get(spec.id, 0) + 1
        if self.deaths[spec.id] <= self.retries:
            todo.insert(0, spec)
            return None
        reason = f"its worker process died {self.deaths[spec.id]} times, last with exit code {worker.process.exitcode}"
        return Run(spec=spec, status="failed", num_tokens=0, flops=0.0, error=reason)


def _serve(pipe: Connection, slot: int, num_threads: int, path: list[str]) -> None:
    """A worker's life: read the work, do it for each spec that comes, end when the parent does."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(num_threads)
    _see_one_gpu(slot)
    sys.path[:] = path
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    inbox: SimpleQueue[Any] = SimpleQueue()
    try:
        import cloudpickle
        import torch

        torch.set_num_threads(num_threads)
        work = cloudpickle.loads(pipe.recv())
    except EOFError:
        return
    except Exception as error:
        pipe.send(("broken", f"{type(error).__name__}: {error}"))
        return
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    if hasattr(work, "on_progress"):
        work = replace(work, on_progress=lambda progress: pipe.send(("progress", progress)))
    while True:
        spec = inbox.get()
        with suppress(KeyboardInterrupt):  # asked to stop, and the checkpoint is saved
            pipe.send(("done", work(spec)))
            continue
        return


def _listen(pipe: Connection, inbox: "SimpleQueue[Any]") -> None:
    """Pass specs on; when the pipe closes the parent is gone or done, so the worker ends at once, even in mid-run."""
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)


def _see_one_gpu(slot: int) -> None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(k) for k in range(_num_gpus())]
    if gpus and gpus != [""]:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]


def _num_gpus() -> int:
    """GPUs of this machine, asked of the driver's folder so that no CUDA context is made."""
    folder = "/proc/driver/nvidia/gpus"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


def _default_workers() -> int:
    import torch

    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def _by_value(work: Any) -> bytes:
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(work)
    except Exception as error:
        raise PlanError(
            f"Processes must send the task to its workers, but it cannot be pickled ({type(error).__name__}: {error}); "
            f"keep open files, locks and generators out of the dataset, or train with InProcess()."
        ) from error
    return data


@contextmanager
def _without_main() -> Iterator[None]:
    """Spawned processes import the parent's `__main__`, which runs an unguarded script again; hide it meanwhile."""
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name, None) for name in ("__spec__", "__file__")}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
        if hidden["__file__"] is None:
            del main.__file__
