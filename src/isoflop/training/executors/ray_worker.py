"""The work of a Ray worker: one run, or its part of a run that several workers train together."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from isoflop.errors import PlanError
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import BrokenDevice, Progress, Work

if TYPE_CHECKING:
    from ray import ObjectRef


__all__ = ["Mailbox", "Remote", "do_part", "do_run"]

R = TypeVar("R")

WAKE_SECONDS = 1.0
"""Interval between two questions whether the caller has stopped."""

MEET_SECONDS = 300.0
"""How long the processes of one run wait for the address of the first."""


class Remote(Protocol[R]):
    """A function or method of Ray that runs in another process."""

    def remote(self, *arguments: object) -> "ObjectRef[R]":
        """A reference to the coming result."""


class MailboxHandle(Protocol):
    """A `Mailbox` as seen from another process."""

    @property
    def is_stopping(self) -> Remote[bool]: ...
    @property
    def put(self) -> Remote[None]: ...
    @property
    def meet_at(self) -> Remote[None]: ...
    @property
    def address(self) -> Remote[tuple[str, int] | None]: ...


class Mailbox:
    """An actor beside the caller, for progress and for the processes of one run to meet."""

    def __init__(self) -> None:
        self._progress: list[Progress] = []
        self._addresses: dict[str, tuple[str, int]] = {}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def is_stopping(self) -> bool:
        return self._stopping

    def put(self, progress: "Progress") -> None:
        self._progress.append(progress)

    def take(self) -> "list[Progress]":
        taken, self._progress = self._progress, []
        return taken

    def meet_at(self, name: str, address: tuple[str, int]) -> None:
        self._addresses[name] = address

    def address(self, name: str) -> tuple[str, int] | None:
        return self._addresses.get(name)


def do_run(
    payload: "list[ObjectRef[Work]]", spec: RunSpec, mailbox: MailboxHandle, num_threads: int
) -> Run:
    """The record of a run; `payload` holds a reference to the work, which a worker loads once."""
    work = _loaded(payload[0])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)
    if _call(mailbox.is_stopping):  # an interrupt may be lost in an import
        raise KeyboardInterrupt
    try:
        with _woken_by_stops(mailbox):
            return work.in_worker(mailbox.put.remote)(spec)
    except BrokenDevice as error:  # Ray hands no other run to a process that died
        print(error, file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def _woken_by_stops(mailbox: MailboxHandle) -> Iterator[None]:
    """Inside the block a stop also reaches a call that waits, such as for a command.

    Ray's own interrupt is seen between two steps of Python only. A signal that does nothing ends
    the waiting, and the interrupt is then seen.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal reaches it
        yield
        return
    main, over = threading.get_ident(), threading.Event()
    before = signal.signal(signal.SIGUSR2, lambda number, frame: None)

    def watch() -> None:
        while not over.wait(WAKE_SECONDS):
            if _call(mailbox.is_stopping):
                signal.pthread_kill(main, signal.SIGUSR2)

    thread = threading.Thread(target=watch, daemon=True, name="isoflop-wake")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR2, before)


def do_part(
    payload: "list[ObjectRef[Work]]",
    spec: RunSpec,
    mailbox: MailboxHandle,
    num_threads: int,
    part: tuple[str, int, int],
) -> Run:
    """The record of a run that several processes train together through torch.distributed.

    part: name of the meeting, rank of this process, and number of processes.
    """
    name, rank, num_ranks = part
    host, port = _meeting(mailbox, name, rank)
    # Each worker sees its own device only, so its local rank is 0.
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1"
    )
    os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
    return do_run(payload, spec, mailbox, num_threads)


@lru_cache(maxsize=1)
def _loaded(reference: "ObjectRef[Work]") -> Work:
    import cloudpickle
    import ray

    try:
        work: Work = cloudpickle.loads(ray.get(reference))
    except Exception as error:
        raise PlanError(
            f"A Ray worker on {socket.gethostname()} cannot load the task "
            f"({type(error).__name__}: {error}); the packages that the task imports must be "
            f"installed on every node, or named in Ray(runtime_env=...)."
        ) from error
    return work


def _call(method: Remote[R], *arguments: object) -> R:
    # While a task waits in ray.get(), Ray hands its CPUs to one more task.
    result: R = method.remote(*arguments).future().result()
    return result


def _meeting(mailbox: MailboxHandle, name: str, rank: int) -> tuple[str, int]:
    """Address of the first process, which this function announces if it is this one."""
    if rank == 0:
        _call(mailbox.meet_at, name, (_node_address(), _free_port()))
    end = time.monotonic() + MEET_SECONDS
    while time.monotonic() < end:
        address = _call(mailbox.address, name)
        if address is not None:
            return address
        time.sleep(0.05)
    raise TimeoutError(f"the first process of {name} did not come within {MEET_SECONDS:.0f} s")


def _node_address() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
