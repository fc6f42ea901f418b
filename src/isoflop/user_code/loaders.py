"""What a DataLoader says about its data: its examples, a stream of them in an order of its own, or ready batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Drawn:
    """The examples of a data set in the order of a sampler."""

    dataset: Dataset[Any]
    sampler: Sampler[int]

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in self.sampler)


@dataclass(frozen=True)
class Batches:
    """The batches of a loader that does not leave them to isoflop; the seed is set before each of them is drawn."""

    items: Callable[[], Iterator[Any]]
    convert: Callable[[Any], Any]

    def __call__(self, seed: int) -> Iterator[Any]:
        return map(self.convert, self.items())


def data_of_loader(loader: DataLoader[Any], name: str) -> Any:
    """The data set where isoflop may order and batch its examples, else a stream of them, or `Batches`.

    Raises ContractError for a loader that gives each process a part of the data.
    """
    batches, sampler = loader.batch_sampler, loader.sampler
    if loader.batch_size is None and type(batches) is BatchSampler:
        sampler = batches.sampler
    if isinstance(sampler, DistributedSampler) or isinstance(
        getattr(batches, "sampler", None), DistributedSampler
    ):
        raise ContractError(
            f"{name}: isoflop splits each batch among the processes itself, but this DataLoader has a "
            f"DistributedSampler; leave the sampler out."
        )
    is_stream = isinstance(loader.dataset, IterableDataset)
    if batches is None:  # batch_size=None: each item is a batch
        items = _Items(loader.dataset) if is_stream else _Items(Drawn(loader.dataset, sampler))  # type: ignore[arg-type]
        return Batches(items, loader.collate_fn)
    if is_stream:
        return loader.dataset
    if loader.batch_size is None and type(batches) is not BatchSampler:
        return Batches(_Grouped(loader.dataset, batches), loader.collate_fn)
    if type(sampler) in (SequentialSampler, RandomSampler):
        return loader.dataset
    return Drawn(loader.dataset, sampler)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Items:
    """Starts an iterable; a class and no lambda, for workers that get it by pickle."""

    data: Any

    def __call__(self) -> Iterator[Any]:
        return iter(self.data)


@dataclass(frozen=True)
class _Grouped:
    """Starts the lists of examples that a batch sampler asks for."""

    dataset: Any
    sampler: Any

    def __call__(self) -> Iterator[Any]:
        return (gathered(self.dataset, indices) for indices in self.sampler)


def gathered(data: Any, indices: Sequence[int]) -> Any:
    """The examples at these indices, in one call where the data set can."""
    if hasattr(data, "__getitems__"):
        return data.__getitems__(list(indices))
    return [data[index] for index in indices]
