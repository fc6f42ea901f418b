"""What a Ray worker does with one run, or with its part of a run that several workers train together."""

import os
import socket
import sys
import time
from functools import lru_cache
from typing import Any

from isoflop.errors import PlanError
from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import BrokenDevice, in_worker

__all__ = ["Mailbox", "do_part", "do_run"]

MEET_SECONDS = 300.0
"""How long the processes of one run wait for the first of them."""


class Mailbox:
    """An actor beside the caller: progress comes here, and the processes of one run find each other."""

    def __init__(self) -> None:
        self._progress: list[Any] = []
        self._addresses: dict[str, tuple[str, int]] = {}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    def is_stopping(self) -> bool:
        return self._stopping

    def put(self, progress: Any) -> None:
        self._progress.append(progress)

    def take(self) -> list[Any]:
        taken, self._progress = self._progress, []
        return taken

    def meet_at(self, name: str, address: tuple[str, int]) -> None:
        self._addresses[name] = address

    def address(self, name: str) -> tuple[str, int] | None:
        return self._addresses.get(name)


def do_run(payload: list[Any], spec: RunSpec, mailbox: Any, num_threads: int) -> Run:
    """The record of a run; `payload` holds a reference to the work, which a worker loads once."""
    work = _loaded(payload[0])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)
    if _ask(mailbox.is_stopping):  # an interrupt may be lost in an import
        raise KeyboardInterrupt
    try:
        run: Run = in_worker(work, mailbox.put.remote)(spec)
    except BrokenDevice as error:  # Ray hands no other run to a process that died
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    return run


def do_part(
    payload: list[Any], spec: RunSpec, mailbox: Any, num_threads: int, part: tuple[str, int, int]
) -> Run:
    """The same for one of several processes that train the run together, found by torch.distributed.

    part: a name for the meeting, this process' rank, and how many there are.
    """
    name, rank, num_ranks = part
    host, port = _meeting(mailbox, name, rank)
    # Each worker sees its own device only, so it is number 0 on what it sees.
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1"
    )
    os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port))
    return do_run(payload, spec, mailbox, num_threads)


@lru_cache(maxsize=1)
def _loaded(reference: Any) -> Any:
    import cloudpickle
    import ray

    try:
        return cloudpickle.loads(ray.get(reference))
    except Exception as error:
        raise PlanError(
            f"A Ray worker on {socket.gethostname()} cannot load the task ({type(error).__name__}: {error}); the "
            f"packages that the task imports must be installed on every node, or named in Ray(runtime_env=...)."
        ) from error


def _ask(method: Any, *arguments: Any) -> Any:
    import ray

    return ray.get(method.remote(*arguments))


def _meeting(mailbox: Any, name: str, rank: int) -> tuple[str, int]:
    if rank == 0:
        _ask(mailbox.meet_at, name, (_node_address(), _free_port()))
    end = time.monotonic() + MEET_SECONDS
    while time.monotonic() < end:
        address: tuple[str, int] | None = _ask(mailbox.address, name)
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
