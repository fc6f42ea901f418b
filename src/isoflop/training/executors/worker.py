"""The life of a worker process: load the work, do it for each spec, end with the parent.

A worker imports this module first, so it imports neither torch nor the caller's `__main__`.
"""

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Literal

from isoflop.errors import IsoflopError
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import BrokenDevice, Progress, Work
from isoflop.training.executors.devices import GPU_VARIABLE

__all__ = ["Message", "serve"]

Message = (
    tuple[Literal["ready"], None]  # the worker can take specs
    | tuple[Literal["progress"], Progress]
    | tuple[Literal["done"], Run]
    | tuple[Literal["broken"], str]  # the reason why the work cannot be loaded
    | tuple[Literal["refused"], IsoflopError]  # an error that no run caused, such as a full disk
    | tuple[Literal["dying"], str]  # the reason why the worker ends
)
"""A message from a worker to its parent."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(pipe: Connection, gpu: str | None, num_threads: int, path: list[str]) -> None:
    """Serve a parent process. Its first message is the work, every later one a spec."""
    # Ctrl-C reaches the whole group, but the parent decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    multiprocessing.current_process().daemon = False  # a daemonic process has no data workers
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(num_threads)))
    if gpu is not None:
        os.environ[GPU_VARIABLE] = gpu
    sys.path[:] = path
    inbox: SimpleQueue[object] = SimpleQueue()
    # A separate thread reads: the parent never waits, and its end is noticed at any time.
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    payload = inbox.get()
    assert isinstance(payload, bytes)
    work = _load(payload, pipe, num_threads)
    if work is None:
        return
    while True:
        try:
            pipe.send(("done", work(_next_spec(inbox))))
        except BrokenDevice as error:
            pipe.send(("dying", str(error)))
            return
        except IsoflopError as error:
            pipe.send(("refused", error))
            return
        except KeyboardInterrupt:  # a requested stop, after the checkpoint is saved
            return  # SystemExit ends the process by itself


def _next_spec(inbox: "SimpleQueue[object]") -> RunSpec:
    spec = inbox.get()
    assert isinstance(spec, RunSpec)
    return spec


def _load(payload: bytes, pipe: Connection, num_threads: int) -> Work | None:
    try:
        import cloudpickle

        work: Work = cloudpickle.loads(payload)
    except Exception as error:
        pipe.send(("broken", f"{type(error).__name__}: {error}"))
        return None
    if "torch" in sys.modules:  # loaded with the work
        sys.modules["torch"].set_num_threads(num_threads)
    pipe.send(("ready", None))
    return work.in_worker(lambda progress: _send_progress(pipe, progress))


def _send_progress(pipe: Connection, progress: Progress) -> None:
    with suppress(OSError):  # the parent is gone: _listen ends this process, the run did not fail
        pipe.send(("progress", progress))


def _listen(pipe: Connection, inbox: "SimpleQueue[object]") -> None:
    """Pass on messages. A closed pipe means that the parent is gone or done: end, even mid-run."""
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)
