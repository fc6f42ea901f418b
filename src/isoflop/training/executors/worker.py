"""What a worker process does: read the work, do it for each spec that comes, end when its parent does.

A worker imports this module first, so it imports neither torch nor the caller's `__main__`.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Literal

from isoflop.errors import IsoflopError
from isoflop.training.executors.contract import BrokenDevice, in_worker
from isoflop.training.executors.devices import GPU_VARIABLE

__all__ = ["Message", "serve"]

Message = tuple[Literal["ready", "progress", "done", "broken", "refused", "dying"], Any]
"""From a worker: it can take specs; a Progress; a Run; why it cannot load the work; what no run is to blame for, such
as a full disk; why it ends."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(pipe: Connection, gpu: str | None, num_threads: int, path: list[str]) -> None:
    """A worker's life. The first message in is the work, every other one a spec."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent says when to stop
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(num_threads)))
    if gpu is not None:
        os.environ[GPU_VARIABLE] = gpu
    sys.path[:] = path
    inbox: SimpleQueue[Any] = SimpleQueue()
    # A thread of its own reads from the start: a parent is never kept waiting, and its end is noticed at any time.
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    work = _load(inbox.get(), pipe, num_threads)
    if work is None:
        return
    while True:
        try:
            pipe.send(("done", work(inbox.get())))
        except BrokenDevice as error:
            pipe.send(("dying", str(error)))
            return
        except IsoflopError as error:
            pipe.send(("refused", error))
            return
        except (
            KeyboardInterrupt
        ):  # asked to stop; the checkpoint is saved. SystemExit ends the process by itself
            return


def _load(payload: bytes, pipe: Connection, num_threads: int) -> Any:
    try:
        import cloudpickle

        work = cloudpickle.loads(payload)
    except Exception as error:
        pipe.send(("broken", f"{type(error).__name__}: {error}"))
        return None
    if "torch" in sys.modules:  # loaded with the work
        sys.modules["torch"].set_num_threads(num_threads)
    pipe.send(("ready", None))
    return in_worker(work, lambda progress: _tell(pipe, progress))


def _tell(pipe: Connection, progress: Any) -> None:
    with suppress(
        OSError
    ):  # the parent is gone, which _listen ends this process for: no failure of the run
        pipe.send(("progress", progress))


def _listen(pipe: Connection, inbox: "SimpleQueue[Any]") -> None:
    """Pass on what comes; when the pipe closes the parent is gone or done, so end at once, even in mid-run."""
    while True:
        try:
            inbox.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(0)
