"""The place that a stream has reached, by its own `state_dict`, as plain data for a checkpoint."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any  # states hold many types

import numpy as np
import torch

__all__ = ["OpenStream", "is_stateful"]

_PLAIN = (type(None), bool, int, float, str, bytes)
_ARRAY = "isoflop:array"
"""Key of an array in plain data."""


class OpenStream:
    """One pass over a stream, from its start or from a state that `state` gave.

    The state is that of the iterator if it has one, else that of the stream. As a stream may keep a
    state that it once loaded for later passes, too, it is loaded into a copy.
    """

    def __init__(
        self,
        stream: Iterable[object],
        convert: Callable[[Any], object] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.convert = convert
        self.holder: Any = stream
        if state is not None and not state["of_iterator"]:
            self.holder = _copied(stream)
            self.holder.load_state_dict(_unplain(state["value"]))
        self.items = iter(self.holder)
        if is_stateful(self.items):
            self.holder = self.items
        if state is not None and state["of_iterator"]:
            self.holder.load_state_dict(_unplain(state["value"]))

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        item = next(self.items)
        return item if self.convert is None else self.convert(item)

    def state(self) -> dict[str, Any] | None:
        """The place after the last item, as plain data; None for a stream without a state.

        Raises TypeError for a state of other data, and what the stream raises.
        """
        if not is_stateful(self.holder):
            return None
        value = _plain(self.holder.state_dict())
        return {"of_iterator": self.holder is self.items, "value": value}


def is_stateful(value: object) -> bool:
    """Whether a stream or an iterator gives its place and takes it back."""
    methods = (getattr(value, name, None) for name in ("state_dict", "load_state_dict"))
    return all(callable(method) for method in methods)


def _copied(stream: Any) -> Any:
    made = copy(stream)
    if getattr(made, "__dict__", None) is getattr(stream, "__dict__", made):  # Hugging Face's
        made.__dict__ = dict(vars(stream))
    return made


def _plain(value: Any) -> Any:
    """A copy made of tensors, numbers, texts and containers of them."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        return {_ARRAY: torch.from_numpy(np.array(value))}
    if type(value) in (list, tuple):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, dict):
        return {_key(key): _plain(each) for key, each in value.items()}
    raise TypeError(f"it holds a {type(value).__name__}")


def _key(value: object) -> object:
    if type(value) in _PLAIN:
        return value
    raise TypeError(f"it has a key of type {type(value).__name__}")


def _unplain(value: Any) -> Any:
    """The state with its arrays; a copy, since a stream may change what it loads."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, list | tuple):
        return type(value)(_unplain(each) for each in value)
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].numpy().copy()[()]
        return {key: _unplain(each) for key, each in value.items()}
    return value
