"""Batches read in worker processes, as by the user's DataLoader, in the order of their keys."""

import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar  # Any: torch's loader is generic in it

import torch
from torch.utils.data import DataLoader, Dataset

from isoflop.training.executors.serialization import dump_work

__all__ = ["in_workers"]

Key = TypeVar("Key")


def in_workers(
    job: Callable[[Key], object], keys: Iterable[Key], num_workers: int
) -> Iterator[object]:
    """Results of a job for each key, in order, read ahead by worker processes.

    A job must depend on its key alone: each process has random numbers of its own.

    num_workers: 0 to call the job in this process.
    """
    # a daemonic process cannot start others
    if num_workers == 0 or multiprocessing.current_process().daemon:
        return map(job, keys)
    return iter(
        DataLoader(
            _Jobs(job),
            batch_size=None,
            sampler=keys,
            num_workers=num_workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # a loader draws a seed, here not from the global one
        )
    )


@dataclass(frozen=True)
class _Jobs(Dataset[Any], Generic[Key]):
    job: Callable[[Key], object]

    def __getitem__(self, key: Key) -> object:
        return self.job(key)

    def __reduce__(self) -> "tuple[Callable[[bytes], _Jobs[Key]], tuple[bytes]]":
        """Spawned processes get the user's code as imported here, not as in its files by now."""
        return _jobs_of, (dump_work(self.job),)


def _jobs_of(payload: bytes) -> _Jobs[Key]:
    return _Jobs(pickle.loads(payload))


def _unchanged(batch: object) -> object:
    return batch
