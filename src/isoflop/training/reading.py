"""Batches read in worker processes, as the user's DataLoader reads them, in the order that they are asked for."""

import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from isoflop.training.executors.serialization import dump_work

__all__ = ["in_workers"]

Key = TypeVar("Key")


def in_workers(job: Callable[[Key], Any], keys: Iterable[Key], num_workers: int) -> Iterator[Any]:
    """What a job gives for each key, in order; read ahead by so many processes, or in this one for none of them.

    A job must depend on its key alone: each process has random numbers of its own.
    """
    if num_workers == 0 or multiprocessing.current_process().daemon:  # which may not start any
        return map(job, keys)
    return iter(
        DataLoader(
            _Jobs(job),
            batch_size=None,
            sampler=keys,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # not the global one, which a loader draws its workers' seed from
        )
    )


@dataclass(frozen=True)
class _Jobs(Dataset[Any]):
    job: Callable[[Any], Any]

    def __getitem__(self, key: Any) -> Any:
        return self.job(key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Where processes are not forked: with the user's code as it is here, whatever its files say by now."""
        return _jobs_of, (dump_work(self.job),)


def _jobs_of(payload: bytes) -> _Jobs:
    return _Jobs(pickle.loads(payload))


def _as_it_is(batch: Any) -> Any:
    return batch
