"""The data of a DataLoader: examples, a stream in its own order, or finished batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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

__all__ = ["Drawn", "data_of_loader", "gathered"]


class Indexable(Protocol):
    """Data with examples by index."""

    def __getitem__(self, index: int, /) -> object: ...


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

    items: Callable[[], Iterator[object]]
    convert: Callable[[Any], object]

    def __call__(self, seed: int) -> Iterator[object]:
        return map(self.convert, self.items())


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
        return Batches(_Items(stream), loader.collate_fn)
    if is_stream:
        return loader.dataset
    if loader.batch_size is None and type(batches) is not BatchSampler:
        return Batches(_Grouped(loader.dataset, batches), loader.collate_fn)
    if type(sampler) in (SequentialSampler, RandomSampler):
        return loader.dataset
    return Drawn(loader.dataset, sampler)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Items:
    """Starts an iterable; a class instead of a lambda, so that workers can unpickle it."""

    data: Iterable[object]

    def __call__(self) -> Iterator[object]:
        return iter(self.data)


@dataclass(frozen=True)
class _Grouped:
    """Starts the lists of examples that a batch sampler requests."""

    dataset: Indexable
    sampler: Iterable[Sequence[int]]

    def __call__(self) -> Iterator[object]:
        return (gathered(self.dataset, indices) for indices in self.sampler)


def gathered(data: Indexable, indices: Sequence[int]) -> list[object]:
    """The examples at these indices, in one call if the data set supports it."""
    if hasattr(data, "__getitems__"):
        examples: list[object] = data.__getitems__(list(indices))
        return examples
    return [data[index] for index in indices]
