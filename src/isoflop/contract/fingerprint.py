"""The fingerprint of a task: equal for tasks that train alike, different when code, values or data change.

Code counts by its source text (its bytecode and constants where there is none) together with the user's functions,
classes and constants that it refers to; libraries count by name. Data count by length and sampled items. Paths, line
numbers, addresses, reprs and pickles never enter, so the fingerprint is the same on every machine and in every folder.
"""

import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from isoflop.contract.data import Source, open_data
from isoflop.contract.randomness import seeded
from isoflop.task import Task

__all__ = ["digest_of", "fingerprint"]

NUM_SAMPLED_ITEMS = 16
MAX_ARRAY_ITEMS = 2**22
"""Arrays with more items are hashed at evenly spaced ones."""


def fingerprint(task: Task) -> str:
    """16 hexadecimal digits that stand for the task in run ids; `Task.fingerprint` where the user gave one.

    Of the recipe only what no spec spells out takes part (optimiser, groups, evaluation tokens), so that more seeds
    or another rule that gives the same learning rate leave finished runs valid.
    """
    if task.fingerprint is not None:
        return task.fingerprint
    digest = _Digest()
    for part in (task.model, task.size_param, task.model_kwargs, task.loss, task.step, task.count_tokens):
        digest.add(part)
    for setting in task.recipe.unspelled():
        digest.add(setting)
    for source in (open_data(task.train_data, "train_data"), open_data(task.val_data, "val_data")):
        digest.add(source.num_examples)
        with seeded(0):
            for item in _sampled(source):
                digest.add(item)
    return digest.hexdigest()[:16]


def digest_of(*values: Any) -> str:
    """16 hexadecimal digits that stand for some values, by the same rules."""
    digest = _Digest()
    for value in values:
        digest.add(value)
    return digest.hexdigest()[:16]


def _sampled(source: Source) -> Iterator[Any]:
    """Items spread over indexable data; the first ones of a stream; the first two batches of a callable."""
    if source.kind == "examples":
        last = (source.num_examples or 1) - 1
        indices = sorted({round(last * k / (NUM_SAMPLED_ITEMS - 1)) for k in range(NUM_SAMPLED_ITEMS)})
        return (source.data[index] for index in indices)
    return islice(source.iterate(0), NUM_SAMPLED_ITEMS if source.kind == "stream" else 2)


class _Digest:
    """A hash that values are added to, whatever their type."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, Any] = {}  # id -> object, kept alive so that no id is used twice

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._text(type(value).__name__, repr(value))
        elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
            self._array(value)
        elif id(value) in self._seen:
            self._text("seen")
        else:
            self._seen[id(value)] = value
            self._composite(value)

    def _composite(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, MethodType):
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, partial):
            self._all("partial", (value.func, value.args, value.keywords))
        elif isinstance(value, Mapping):
            self._all("mapping", value.items())
        elif isinstance(value, set | frozenset):
            self._all("set", sorted(value, key=repr))
        elif isinstance(value, list | tuple):
            self._all("sequence", value)
        elif isinstance(value, ModuleType | BuiltinFunctionType):
            self._text("library", getattr(value, "__name__", ""))
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        self.add(type(value))
        if is_dataclass(value):
            self._all("fields", ((field.name, getattr(value, field.name)) for field in fields(value)))
        elif hasattr(value, "__dict__"):
            self._all("attributes", sorted(vars(value).items()))

    def _function(self, function: FunctionType) -> None:
        if _is_library(function.__module__):
            self._text("library", function.__module__, function.__qualname__)
            return
        self._code(function)
        self._all("defaults", (function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # a name that is not bound yet
                self._text("empty")
        for name, value in _referred(function):
            self._text("global", name)
            self.add(value)

    def _code(self, function: FunctionType) -> None:
        source = None if function.__name__ == "<lambda>" else _source(function)
        if source is not None:
            self._text("source", source)
        else:
            self._bytecode(function.__code__)

    def _bytecode(self, code: CodeType) -> None:
        self._text("bytecode", code.co_code.hex(), *code.co_names, *code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._bytecode(constant)
            else:
                self.add(constant)

    def _class(self, cls: type) -> None:
        if _is_library(cls.__module__):
            self._text("library", cls.__module__, cls.__qualname__)
            return
        self._text("class", _source(cls) or cls.__qualname__)
        self._all("bases", cls.__bases__)
        for name, member in sorted(vars(cls).items()):
            function = _plain_function(member)
            if function is not None:
                self._text("member", name)
                self.add(function)
            elif not name.startswith("__"):
                self._text("attribute", name)
                self.add(member)

    def _array(self, value: Any) -> None:
        array = value.detach().cpu().contiguous() if isinstance(value, torch.Tensor) else np.ascontiguousarray(value)
        self._text("array", str(array.dtype).removeprefix("torch."), repr(tuple(array.shape)))
        array = array.reshape(-1)
        array = array[:: max(1, len(array) // MAX_ARRAY_ITEMS)]
        if isinstance(array, torch.Tensor):
            array = array.contiguous().view(torch.uint8).numpy()
        if array.dtype == object:
            self._all("objects", array.tolist())
        else:
            self._hash.update(array.tobytes())

    def _all(self, kind: str, values: Iterable[Any]) -> None:
        items = list(values)
        self._text(kind, str(len(items)))
        for item in items:
            self.add(item)

    def _text(self, *parts: str) -> None:
        for part in parts:
            data = part.encode()
            self._hash.update(len(data).to_bytes(8, "little") + data)


def _source(value: Any) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):  # typed into a prompt, or built at run time
        return None


def _plain_function(member: Any) -> FunctionType | None:
    if isinstance(member, property):
        member = member.fget
    member = getattr(member, "__func__", member)
    return member if isinstance(member, FunctionType) else None


def _referred(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Globals that a function's code names, and what it names inside modules of the user's own."""
    names = sorted(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            if not _is_library(value.__name__):
                yield from ((f"{name}.{inner}", vars(value)[inner]) for inner in names if inner in vars(value))
        elif name in function.__globals__:
            yield name, value


def _names(code: CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


# Resolved, as modules are below: an environment may be reached through a link.
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def _is_library(module_name: str | None) -> bool:
    """True for modules of the interpreter, of installed packages, and isoflop's own."""
    root = (module_name or "").partition(".")[0]
    if root in sys.stdlib_module_names or root in sys.builtin_module_names or root == "isoflop":
        return root != "__main__"
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is not None and str(Path(file).resolve()).startswith(_INSTALLED)
