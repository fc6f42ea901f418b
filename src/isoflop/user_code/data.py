"""One interface to a user's data: examples by index, a stream, or a callable giving batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from isoflop.errors import ContractError, first_line
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loaders import (
    Batches,
    Drawn,
    Workers,
    data_of_loader,
    gathered,
    unused_settings,
    workers_of,
)
from isoflop.user_code.stream_parts import num_parts
from isoflop.user_code.stream_state import OpenStream

__all__ = [
    "Source",
    "dimensions",
    "first_batch",
    "mapped",
    "num_examples_in",
    "open_data",
    "sliced",
    "tensors_in",
    "to_device",
]

HERE = Workers()
"""No workers: the process that trains reads."""


@dataclass(frozen=True)
class Source:
    """A user's data behind one interface.

    kind: "examples" (indexable, of known length), "stream" (iterable of examples) or "batches"
        (callable seed -> iterable of batches).
    num_examples: length; None if it is unknown.
    batch_size: that of the user's own loader, which the recipe's replaces; None without a loader.
    """

    kind: Literal["examples", "stream", "batches"]
    data: Any
    collate: Callable[[list[object]], object]
    num_examples: int | None
    name: str
    workers: Workers = HERE
    """Processes that read ahead, as those of the user's DataLoader."""
    spare_cores: int = 0
    """Cores for processes that read ahead if there are no workers and reading proves slow."""
    batch_size: int | None = None
    unused: tuple[str, ...] = ()
    """Settings of the user's DataLoader that have no effect."""

    @property
    def num_parts(self) -> int:
        """Parts of a stream that are read in turn; 1 for other data."""
        is_divided = self.kind == "stream" and not isinstance(self.data, Drawn)
        return num_parts(self.data) if is_divided else 1

    @property
    def num_readers(self) -> int:
        """Workers that read: for a stream at most its parts, and as many to each of them."""
        number = self.workers.num_workers
        if self.kind == "examples" or isinstance(self.data, Drawn):
            return number
        return 1 << (min(number, self.num_parts).bit_length() - 1) if number else 0

    def gather(self, indices: Sequence[int]) -> object:
        """The batch of the examples at these indices; only for kind "examples"."""
        if type(self.data) is TensorDataset and self.collate is default_collate:
            chosen = torch.as_tensor(indices)  # equals collating the examples, but faster
            return [tensor[chosen] for tensor in self.data.tensors]
        return self.batch_of(gathered(self.data, indices))

    def batch_of(self, examples: list[object]) -> object:
        """The batch of some examples. Raises ContractError if they do not make one."""
        try:
            return self.collate(examples)
        except Exception as error:
            if self.collate is default_collate:
                remedy = (
                    "give examples of tensors of one shape, or a DataLoader whose collate_fn "
                    "pads them"
                )
            else:
                remedy = "its collate_fn must take any number of examples"
            raise ContractError(
                f"{self.name}: {len(examples)} examples do not make a batch "
                f"({first_line(error)}); {remedy}."
            ) from error

    def iterate(self, seed: int) -> Iterator[object]:
        """Examples in order ("examples", "stream") or batches ("batches")."""
        if self.kind == "batches":
            return iter(self.data(seed))
        if self.kind == "examples":
            return (self.data[index] for index in range(self.num_examples or 0))
        return iter(self.data)

    def opened(self, seed: int, state: Mapping[str, Any] | None = None) -> OpenStream:
        """The same items, from the start or from a state of an earlier pass of this seed."""
        if self.kind == "stream":
            return OpenStream(self.data, state=state)
        if self.kind == "batches":
            if isinstance(self.data, Batches):
                return OpenStream(self.data.items, self.data.convert, state)
            return OpenStream(self.data(seed), state=state)
        return OpenStream(self.iterate(seed))


def open_data(data: object, name: str) -> Source:
    """The source of the user's data; `name` is "train_data" or "val_data".

    A DataLoader's examples are ordered and batched by isoflop, from (seed, step), unless the loader
    has its own sampler or batches.

    Raises ContractError for data of unknown form, empty data, and loaders that split the data among
    processes.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, DataLoader):
        source = _open(data_of_loader(data, name), data.collate_fn, name)
        return replace(
            source,
            workers=workers_of(data),
            batch_size=None if source.kind == "batches" else data.batch_size,
            unused=unused_settings(data) if source.kind == "examples" else (),
        )
    return _open(data, default_collate, name)


def _open(data: object, collate: Callable[[list[object]], object], name: str) -> Source:
    if isinstance(data, tuple) and any(
        isinstance(part, torch.Tensor | np.ndarray) for part in data
    ):
        raise ContractError(
            f"{name} must be a dataset of (input, target) examples, but got a tuple of arrays; "
            f"wrap it as torch.utils.data.TensorDataset(inputs, targets)."
        )
    if getattr(data, "_distributed", None) is not None:  # a stream of Hugging Face
        raise ContractError(
            f"{name}: isoflop splits each batch among the processes itself, but this stream was "
            f"split by split_dataset_by_node; leave that out."
        )
    length = _length(data)
    if length == 0:
        raise ContractError(f"{name} must hold at least one example, but it is empty.")
    is_stream = isinstance(data, IterableDataset | Drawn)  # some have a length
    if (
        hasattr(data, "__getitem__")
        and length is not None
        and not isinstance(data, Mapping | str)
        and not is_stream
    ):
        return Source("examples", data, collate, length, name)
    if hasattr(data, "__iter__") and not isinstance(data, Mapping | str | Iterator):
        return Source("stream", data, collate, length, name)
    if callable(data):
        return Source("batches", data, collate, None, name)
    parts = (
        f"; name one of its parts, such as [{next(iter(data))!r}]"
        if isinstance(data, Mapping) and data
        else ""
    )
    raise ContractError(
        f"{name} must be a Dataset, a DataLoader, an iterable that can be started again, or a "
        f"callable seed -> batches, but got {type(data).__name__}{parts}."
    )


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # iterable data sets and callables have none
        return None


def first_batch(source: Source, num_examples: int) -> object:
    """A real batch: the first examples of the data, or the first batch of a callable (seed 0).

    Raises ContractError for data without examples.
    """
    with isolated(0):
        items = list(islice(source.iterate(0), 1 if source.kind == "batches" else num_examples))
        if not items:
            raise ContractError(
                f"{source.name} must hold at least one example, but it yields none."
            )
        if source.kind == "batches":
            return items[0]
        return source.batch_of(items)


def num_examples_in(batch: object) -> int:
    """Examples in a batch: the first dimension of its first tensor.

    Raises ContractError for a batch without a tensor.
    """
    for tensor in tensors_in(batch):
        if tensor.ndim > 0:
            return int(tensor.shape[0])
    raise ContractError(
        f"A batch must hold tensors whose first dimension counts examples, but got "
        f"{type(batch).__name__}."
    )


def dimensions(batch: object) -> tuple[int, ...]:
    """Number of examples, then all dimensions of a batch's tensors; they determine its FLOPs."""
    return (
        num_examples_in(batch),
        *(int(size) for tensor in tensors_in(batch) for size in tensor.shape),
    )


def to_device(batch: Any, device: torch.device | str) -> Any:
    """The batch with its tensors on a device; "meta" keeps only shapes and types."""
    return mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def mapped(batch: Any, function: Callable[[torch.Tensor], object]) -> Any:
    """The batch with a function's value in place of each tensor."""
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(value, function) for value in batch)
    return batch


def sliced(value: Any, part: slice, num_examples: int) -> Any:
    """A slice of everything in a batch that has an entry per example; other values unchanged."""
    if isinstance(value, torch.Tensor):
        return value[part] if value.ndim and len(value) == num_examples else value
    if isinstance(value, Mapping):
        return {key: sliced(item, part, num_examples) for key, item in value.items()}
    if (
        isinstance(value, list | tuple)
        and value
        and not isinstance(value[0], torch.Tensor | Mapping | list | tuple)
    ):
        return value[part] if len(value) == num_examples else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(sliced(item, part, num_examples) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(sliced(item, part, num_examples) for item in value)
    return value


def tensors_in(value: object) -> Iterable[torch.Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
