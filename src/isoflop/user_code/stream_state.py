"""The place that a stream has reached, by its own `state_dict`, as plain data for a checkpoint."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from operator import is_
from typing import Any  # states hold many types

import numpy as np
import torch

__all__ = ["OpenStream", "is_stateful"]

_PLAIN = (type(None), bool, int, float, str, bytes)
_ARRAY = "isoflop:array"
"""Key of an array in plain data."""
MOST_BITS = 2_000
"""Of an integer; torch does not read larger ones from a file (`weights_only`)."""
MOST_SEARCHED = 1_000
"""Entries of a container that is searched for streams; longer ones are data."""


class OpenStream:
    """One pass over a stream, from its start or from a state that `state` gave.

    The state is that of the iterator if it has one, else that of the stream. As a stream, or one
    inside it, may keep a state that it once loaded for later passes, too, it is loaded into a copy.
    """

    def __init__(
        self,
        stream: Iterable[object],
        convert: Callable[[Any], object] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.convert = convert
        self.holder: Any = stream
        if state is not None:
            self.holder = _copied(stream, {})
        if state is not None and not state["of_iterator"]:
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


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """A copy of a value with copies of all stateful streams in it; the value itself without any.

    known: the copies made so far, by id of what they are of.
    """
    if id(value) in known:
        return known[id(value)]
    if type(value) in (list, tuple, dict) and len(value) <= MOST_SEARCHED:
        parts = list(value.values() if type(value) is dict else value)
        copies = [_copied(each, known) for each in parts]
        if all(map(is_, parts, copies)):
            return value
        return dict(zip(value, copies, strict=True)) if type(value) is dict else type(value)(copies)
    if not _is_searched(value):
        return value
    made = known[id(value)] = copy(value) if is_stateful(value) else value
    parts = vars(made)
    own = {name: _copied(each, known) for name, each in parts.items()}
    if made is value:
        if all(map(is_, parts.values(), own.values())):
            return value
        made = known[id(value)] = copy(value)
    # a dictionary of its own: copies of Hugging Face's streams share it
    object.__setattr__(made, "__dict__", own)
    return made


def _is_searched(value: Any) -> bool:
    """Whether a value may be a stream or hold one; the iterators of streams are shared."""
    return (
        hasattr(value, "__dict__")
        and (is_stateful(value) or hasattr(value, "__iter__"))
        and not hasattr(value, "__next__")
        and not isinstance(value, type | np.ndarray | torch.Tensor | torch.nn.Module)
    )


def _plain(value: Any) -> Any:
    """A copy made of tensors, numbers, texts and containers of them."""
    if type(value) is int and value.bit_length() > MOST_BITS:
        raise TypeError(f"it holds an integer of {value.bit_length():,} bits")
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
