"""The data of a DataLoader: examples, a stream in its own order, or finished batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, Protocol

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from isoflop.errors import ContractError

__all__ = [
    "Batches",
    "Drawn",
    "Workers",
    "data_of_loader",
    "gathered",
    "identity",
    "unused_settings",
    "workers_of",
]


class Indexable(Protocol):
    """Data with examples by index."""

    def __getitem__(self, index: int, /) -> object: ...


@dataclass(frozen=True)
class Workers:
    """Processes that read a user's data ahead of training, as a DataLoader describes them.

    num_workers: 0 to read in the process that trains.
    prefetch_factor: batches that each of them reads ahead; None for PyTorch's default.
    pin_memory: whether batches come in page-locked memory, from which copies to a GPU are faster.
    timeout: seconds to wait for a batch; 0 for any time.
    worker_init_fn: called in each of them at its start, with its number.
    context: how they are started; None for the default of the platform.
    """

    num_workers: int = 0
    prefetch_factor: int | None = None
    pin_memory: bool = False
    timeout: float = 0.0
    worker_init_fn: Callable[[int], object] | None = None
    context: BaseContext | None = None


@dataclass(frozen=True)
class Drawn:
    """The examples of a data set in the order of a sampler."""

    dataset: Dataset[object]
    sampler: Sampler[int]

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[object]:
        return (self.dataset[index] for index in self.sampler)


@dataclass(frozen=True)
class Batches:
    """The batches of a loader that makes its own; the caller sets the seed before drawing each."""

    items: Iterable[object]
    convert: Callable[[Any], object]

    def __call__(self, seed: int) -> Iterator[object]:
        return map(self.convert, self.items)


def data_of_loader(loader: DataLoader[object], name: str) -> object:
    """The data set if isoflop may order and batch its examples, else a stream or `Batches`.

    Raises ContractError for a loader that gives each process a part of the data.
    """
    batches, sampler = loader.batch_sampler, loader.sampler
    if loader.batch_size is None and type(batches) is BatchSampler:
        sampler = batches.sampler
    if isinstance(sampler, DistributedSampler) or isinstance(
        getattr(batches, "sampler", None), DistributedSampler
    ):
        raise ContractError(
            f"{name}: isoflop splits each batch among the processes itself, but this DataLoader "
            f"has a DistributedSampler; leave the sampler out."
        )
    is_stream = isinstance(loader.dataset, IterableDataset)
    if batches is None:  # batch_size=None: each item is a batch
        drawn = Drawn(loader.dataset, sampler)  # type: ignore[arg-type]
        stream = loader.dataset if isinstance(loader.dataset, IterableDataset) else drawn
        return Batches(stream, loader.collate_fn)
    if is_stream:
        return loader.dataset
    if loader.batch_size is None and type(batches) is not BatchSampler:
        return Batches(_Grouped(loader.dataset, batches), loader.collate_fn)
    if type(sampler) in (SequentialSampler, RandomSampler):
        return loader.dataset
    return Drawn(loader.dataset, sampler)  # type: ignore[arg-type]


def workers_of(loader: DataLoader[object]) -> Workers:
    """The workers of a user's loader. They stay from run to run, as if persistent."""
    return Workers(
        loader.num_workers,
        loader.prefetch_factor,
        loader.pin_memory,
        loader.timeout,
        loader.worker_init_fn,
        loader.multiprocessing_context,
    )


def identity(data: object) -> tuple[int, ...]:
    """Numbers that tell a data set from all others that live; a loader's are those of its parts."""
    if isinstance(data, Batches):
        made_here = isinstance(data.items, Drawn | _Grouped)
        parts = vars(data.items).values() if made_here else (data.items,)
        return tuple(id(part) for part in (*parts, data.convert))
    return (id(data),)


def unused_settings(loader: DataLoader[object]) -> tuple[str, ...]:
    """Names of a loader's settings that have no effect where isoflop orders its examples."""
    used = {
        "drop_last": loader.drop_last,
        "generator": loader.generator is not None,
        "in_order=False": not getattr(loader, "in_order", True),
    }
    return tuple(name for name, is_set in used.items() if is_set)


@dataclass(frozen=True)
class _Grouped:
    """The lists of examples that a batch sampler requests."""

    dataset: Indexable
    sampler: Iterable[Sequence[int]]

    def __iter__(self) -> Iterator[object]:
        return (gathered(self.dataset, indices) for indices in self.sampler)


def gathered(data: Indexable, indices: Sequence[int]) -> list[object]:
    """The examples at these indices, in one call if the data set supports it."""
    if hasattr(data, "__getitems__"):
        examples: list[object] = data.__getitems__(list(indices))
        return examples
    return [data[index] for index in indices]
