"""Batches read ahead by data workers, in the order of their jobs; the workers stay between runs."""

import atexit
import os
import signal
import threading
import warnings
from collections.abc import Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import active_children, current_process
from multiprocessing.process import BaseProcess
from typing import Any  # torch's loader is generic in it

import torch
from torch.utils.data import DataLoader

from isoflop.errors import DataError, first_line
from isoflop.training.data_worker import Begin, Jobs, Raised, unchanged
from isoflop.training.executors.serialization import without_main
from isoflop.training.jobs import Job
from isoflop.user_code.data import Source
from isoflop.user_code.loaders import Workers, identity

__all__ = ["close_workers", "is_read_here", "read"]

MOST_IDLE = 2
"""Data sets whose workers wait for the next run: those of training and of evaluation."""
NOTHING = -1
"""In place of a reading's number while nothing is read."""


def is_read_here(source: Source) -> bool:
    """Whether a source is read in this process. A daemonic process cannot start others."""
    return source.workers.num_workers == 0 or current_process().daemon


def read(source: Source, jobs: Iterable[Job]) -> Generator[object, None, None]:
    """What each job gives for a source, in order, read ahead by the source's workers if it has any.

    Raises what a job raises, and DataError for a worker that ends, is slow or cannot start.
    """
    if is_read_here(source):
        return (job(source) for job in jobs)
    return _read_ahead(source, jobs)


def _read_ahead(source: Source, jobs: Iterable[Job]) -> Generator[object, None, None]:
    reader = _taken(source)
    try:
        yield from reader.results(jobs)
    finally:
        reader.rest()


def close_workers() -> None:
    """End all data workers of this process."""
    for reader in list(_readers.values()):
        reader.close()
    _readers.clear()


class _Reader:
    """Workers that hold a source, and do jobs for one reading after the other."""

    def __init__(self, source: Source) -> None:
        self.source = source  # kept, so that no other data set gets its id
        self.is_busy = self.is_closed = False
        self.batches: Iterator[object] = iter(())
        self._keys = _Keys()
        self._number = 0
        self._current = torch.full((1,), NOTHING).share_memory_()  # type: ignore[no-untyped-call]
        self._processes: set[BaseProcess] = set()
        self._loader: Iterable[object] = _loader(source, self._keys, self._current)

    @property
    def is_alive(self) -> bool:
        """Whether the workers can take a further reading."""
        return all(process.is_alive() for process in self._processes)

    def results(self, jobs: Iterable[Job]) -> Iterator[object]:
        """What each job gives, in order. The workers skip what is left of an earlier reading."""
        self._number += 1
        self._current.fill_(self._number)
        self._keys.keys = ((self._number, job) for job in _whole(jobs))
        self._begin()
        while True:
            try:
                result = self._next()
            except StopIteration:
                return
            if isinstance(result, Raised):
                raise result.error()
            yield result

    def rest(self) -> None:
        """Make the workers skip what they have not begun."""
        self._current.fill_(NOTHING)
        self._keys.keys = iter(())
        self.is_busy = False
        if self not in _readers.values():  # another took its place meanwhile
            self.close()

    def close(self, *, kill: bool = False) -> None:
        """End the workers.

        kill: at once, for workers that may hang.
        """
        if self.is_closed:
            return
        self.is_closed = True
        if kill:
            with _without_worker_signals():
                for process in self._processes:
                    process.kill()
                    process.join()
        self._loader, self.batches = (), iter(())  # the loader's iterator ends its workers
        for process in self._processes:
            if process.is_alive():
                process.kill()
        _forget(self)

    def _begin(self) -> None:
        before = set(active_children())
        try:
            with _starting(self.source.workers):
                self.batches = iter(self._loader)
        except Exception as error:
            self.close(kill=True)
            raise _lost(self.source, error) from error
        self._processes |= set(active_children()) - before

    def _next(self) -> object:
        """The next result; after any error of the workers themselves they are replaced."""
        try:
            return next(self.batches)
        except StopIteration:
            raise
        except BaseException as error:  # also a stop in the middle of a message
            self.close(kill=True)
            if not isinstance(error, Exception):
                raise
            raise _lost(self.source, error) from error


def _whole(jobs: Iterable[Job]) -> Iterator[Job]:
    """The jobs, and where their order ends in an error, one that raises it when its turn comes."""
    try:
        yield from jobs
    except Exception as error:
        yield _Raise(error)


@dataclass(frozen=True)
class _Raise:
    error: Exception

    def __call__(self, source: Source) -> object:
        raise self.error


_readers: dict[Hashable, _Reader] = {}


def _taken(source: Source) -> _Reader:
    """The workers that wait with this source, or new ones; nobody else's until they rest."""
    key = (*identity(source.data), id(source.collate), source.workers)
    reader = _readers.get(key)
    if reader is not None and not reader.is_busy and not reader.is_alive:
        reader.close(kill=True)
        reader = None
    if reader is None or reader.is_busy:
        reader = _Reader(source)
        _make_room()
        _readers[key] = reader  # one that is busy ends with its reading
    reader.is_busy = True
    return reader


def _make_room() -> None:
    idle = [reader for reader in _readers.values() if not reader.is_busy]
    for reader in idle[: max(0, len(idle) + 1 - MOST_IDLE)]:
        reader.close()


def _forget(reader: _Reader) -> None:
    for key in [key for key, other in _readers.items() if other is reader]:
        del _readers[key]


_of_the_parent: list[_Reader] = []
"""In a forked process: the parent's readers, kept so that nothing here ends their workers."""


def _disown() -> None:
    _of_the_parent.extend(_readers.values())
    _readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
atexit.register(close_workers)


class _Keys:
    """A sampler whose keys change from reading to reading."""

    def __init__(self) -> None:
        self.keys: Iterator[tuple[int, Job]] = iter(())

    def __iter__(self) -> Iterator[tuple[int, Job]]:
        return self.keys


def _loader(source: Source, keys: _Keys, current: torch.Tensor) -> DataLoader[Any]:
    workers = source.workers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more workers than cores: the user's loader has warned
        return DataLoader(
            Jobs(replace(source, workers=Workers()), current),
            batch_size=None,
            sampler=keys,
            num_workers=workers.num_workers,
            prefetch_factor=workers.prefetch_factor,
            pin_memory=workers.pin_memory and torch.cuda.is_available(),
            timeout=workers.timeout,
            worker_init_fn=Begin(workers.worker_init_fn),
            multiprocessing_context=workers.context,
            persistent_workers=True,
            collate_fn=unchanged,
            generator=torch.Generator(),  # a loader draws a seed, here not from the global one
        )


def _lost(source: Source, error: Exception) -> DataError:
    """The error of workers that end, hang or do not start, as a sentence."""
    text, name = str(error), source.name
    if "timed out" in text:
        return DataError(
            f"{name} must give a batch within its DataLoader's timeout of "
            f"{source.workers.timeout:g} s, but none came; raise timeout or use more num_workers."
        )
    if _is_death(error):
        return DataError(
            f"The data workers of {name} must live as long as the run, but one of them died "
            f"({first_line(error)}); look for a lack of memory, or read with num_workers=0."
        )
    last = (text.strip().splitlines() or [type(error).__name__])[-1]
    return DataError(
        f"The data workers of {name} must be able to start and read, but got {last[:120]}; "
        f"check the worker_init_fn, or read with num_workers=0 to see why."
    )


def _is_death(error: Exception) -> bool:
    """Whether a worker died: while it read, or while it handed a batch over."""
    text = str(error)
    in_transit = isinstance(error, ConnectionError | EOFError | FileNotFoundError)
    is_sent = text.startswith("Caught ")  # raised in a worker that still lives
    return (
        "exited unexpectedly" in text
        or "is killed by signal" in text
        or (in_transit and not is_sent)
    )


@contextmanager
def _without_worker_signals() -> Iterator[None]:
    """A block in which PyTorch does not raise for a worker that ends."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        if before is not None:  # None for a handler that is not of Python
            signal.signal(signal.SIGCHLD, before)


def _starting(workers: Workers) -> Any:
    """Spawned workers do not run the program's `__main__` again."""
    method = workers.context or torch.multiprocessing
    return nullcontext() if method.get_start_method() == "fork" else without_main()
