"""The fingerprint of a task: equal for tasks that train alike, changed by code, values and data.

Code enters as it was loaded, even if its file has changed since: by the syntax tree of its source
(bytecode and constants if there is no source), with the user's functions, classes and constants
that it refers to. Libraries enter by name, data by length and sampled items. Comments, layout,
paths, line numbers, addresses, reprs and pickles never enter, so the fingerprint is the same on
every machine and in every folder.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from itertools import islice
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch

from isoflop.errors import ContractError
from isoflop.libraries import is_library, lies_among_libraries
from isoflop.per_task import per_task
from isoflop.sources import class_tree, function_tree, own_members, remember, report_edits
from isoflop.task import Task, require_task
from isoflop.user_code.data import Source, open_data
from isoflop.user_code.isolation import isolated
from isoflop.user_code.references import referred_by, stored_attributes, written_cells

__all__ = ["check_unchanged", "digest_of", "digest_of_code", "fingerprint", "named_values"]

NUM_SAMPLED_ITEMS = 16
MAX_ARRAY_ITEMS = 2**22
"""Arrays with more items are hashed at evenly spaced ones."""


def fingerprint(task: Task) -> str:
    """16 hexadecimal digits that identify the task in run ids; `Task.fingerprint` if it is given.

    Only those settings of the recipe enter that no spec holds (optimiser, groups, evaluation
    tokens). More seeds, or another rule with the same learning rate, therefore keep finished runs
    valid.

    Raises ContractError for data that differ each time they are read.
    """
    require_task(task, "fingerprint: task")
    if task.fingerprint is not None:
        return task.fingerprint
    remember()
    _check_repeatable(task)
    task_fingerprint = _digest_of_task(task).hexdigest()[:16]
    report_edits()
    return task_fingerprint


def check_unchanged(task: Task, before: Mapping[str, str]) -> None:
    """Raise ContractError if a value of the task differs from its earlier `named_values`."""
    after = named_values(task)
    changed = next((name for name in after if after[name] != before.get(name)), None)
    if changed is not None:
        raise ContractError(
            f"The values that a task uses must stay the same while its model runs, or its runs "
            f"could not be recognised, but {changed} has changed; pass it as an argument, keep it "
            f"in the model or the data set, or give Task(fingerprint='a name of your own')."
        )


def named_values(task: Task) -> Mapping[str, str]:
    """A hash for each global and class attribute in use; empty if `Task.fingerprint` is given."""
    return {} if task.fingerprint is not None else _digest_of_code(task).by_name


def digest_of_code(task: Task) -> str:
    """A hash of the task's code and the values that it refers to, without data.

    Ignores `Task.fingerprint`.
    """
    return _digest_of_code(task).hexdigest()[:16]


def digest_of(*values: object) -> str:
    """16 hexadecimal digits that identify some values, by the same rules."""
    digest = _Digest()
    for value in values:
        digest.add(value)
    return digest.hexdigest()[:16]


def _digest_of_task(task: Task) -> "_Digest":
    digest = _digest_of_code(task)
    for source in _sources(task):
        _add_data(digest, source)
    return digest


def _digest_of_code(task: Task) -> "_Digest":
    digest = _Digest()
    if torch.get_default_dtype() is not torch.float32:  # the type of the model's params
        digest.add(str(torch.get_default_dtype()))
    code = (
        task.model,
        task.size_param,
        task.model_kwargs,
        task.loss,
        task.step,
        task.val_loss,
        task.count_tokens,
    )
    for part in code:
        digest.add(part)
    for setting in task.recipe.unspelled():
        digest.add(setting)
    for source in _sources(task):
        if not is_library(
            getattr(source.collate, "__module__", None) or type(source.collate).__module__
        ):
            digest.add(source.collate)
    return digest


def _sources(task: Task) -> tuple[Source, Source]:
    return open_data(task.train_data, "train_data"), open_data(task.val_data, "val_data")


def _add_data(digest: "_Digest", source: Source) -> None:
    """Add the length and some items of the data.

    Examples also enter as one batch, since a collate function may mask or cut them.
    """
    digest.add(source.num_examples)
    with isolated(0):
        items = list(_sampled(source))
        for item in items:
            digest.add(item)
        if source.kind != "batches" and items:
            digest.add(source.batch_of(items))


@per_task
def _check_repeatable(task: Task) -> None:
    """Raise ContractError for data that differ each time they are read.

    With `Task.fingerprint` they are not checked. Then no run can be repeated, a resumed run sees
    other data, each run is evaluated on other held-out values, and a change of model, loss or data
    goes unnoticed.
    """
    for source in _sources(task):
        first, second = _Digest(), _Digest()
        _add_data(first, source)
        _add_data(second, source)
        if first.hexdigest() != second.hexdigest():
            raise ContractError(
                f"{source.name} must give the same values each time that it is read, but read "
                f"twice it gave others; draw random numbers from the global generators of torch, "
                f"NumPy or random, and start each iteration anew (with Task(fingerprint='...') no "
                f"run can be repeated)."
            )


def _sampled(source: Source) -> Iterator[object]:
    """Items spread over indexable data, the first of a stream, or two batches of a callable."""
    if source.kind == "examples":
        last = (source.num_examples or 1) - 1
        indices = sorted(
            {round(last * k / (NUM_SAMPLED_ITEMS - 1)) for k in range(NUM_SAMPLED_ITEMS)}
        )
        return (source.data[index] for index in indices)
    return islice(source.iterate(0), NUM_SAMPLED_ITEMS if source.kind == "stream" else 2)


class _Digest:
    """A hash of values of any type."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, object] = {}  # id -> object, kept alive so that no id is used twice
        self.by_name: dict[str, str] = {}
        """The hash after each named value, which shows the one that differs between two hashes."""

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: object) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._text(type(value).__name__, repr(value))
        elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
            self._array(value)
        elif id(value) in self._seen:
            self._text("seen")
        else:
            self._seen[id(value)] = value
            self._composite(value)

    def _composite(self, value: object) -> None:
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
        elif isinstance(value, logging.Logger | logging.LoggerAdapter):
            self._text("logger")  # its attributes lead to all loggers of the process
        else:
            self._object(value)

    def _object(self, value: object) -> None:
        self.add(type(value))
        if is_dataclass(value):
            self._all(
                "fields", ((field.name, getattr(value, field.name)) for field in fields(value))
            )
        elif hasattr(value, "__dict__"):
            self._all("attributes", sorted(vars(value).items()))

    def _function(self, function: FunctionType) -> None:
        if is_library(function.__module__):
            self._text("library", function.__module__, function.__qualname__)
            return
        self._code(function)
        self._all("defaults", (function.__defaults__, function.__kwdefaults__))
        written = written_cells(function.__code__)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            if name in written:
                continue
            try:
                self.add(cell.cell_contents)
            except ValueError:  # a name that is not bound yet
                self._text("empty")
        for name, value in referred_by(function):
            self._text("global", name)
            self.add(value)
            self._note_hash(name)

    def _code(self, function: FunctionType) -> None:
        """Add a function's code; only the name for a library's wrapper, whose closure enters."""
        code = function.__code__
        if lies_among_libraries(code.co_filename):
            self._text("library", code.co_qualname)
        elif (tree := function_tree(function)) is not None:
            self._text("source", tree)
        else:
            self._bytecode(code)

    def _bytecode(self, code: CodeType) -> None:
        self._text(
            "bytecode", code.co_code.hex(), *code.co_names, *code.co_varnames, *code.co_freevars
        )
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._bytecode(constant)
            else:
                self.add(constant)

    def _class(self, cls: type) -> None:
        if is_library(cls.__module__):
            self._text("library", cls.__module__, cls.__qualname__)
            return
        self._text("class", class_tree(cls) or cls.__qualname__)
        self._all("bases", cls.__bases__)
        members = [
            (name, _plain_function(member), member) for name, member in sorted(own_members(cls))
        ]
        written = {
            name
            for _, function, _ in members
            if function
            for name in stored_attributes(function.__code__)
        }
        for name, function, member in members:
            if function is not None:
                self._text("member", name)
                self.add(function)
            elif not name.startswith("__") and name not in written:
                # an attribute that methods write is state, such as a counter
                self._text("attribute", name)
                self.add(member)
                self._note_hash(f"{cls.__name__}.{name}")

    def _array(self, value: object) -> None:
        array = (
            value.detach().cpu().contiguous()
            if isinstance(value, torch.Tensor)
            else np.ascontiguousarray(value)
        )
        self._text("array", str(array.dtype).removeprefix("torch."), repr(tuple(array.shape)))
        array = array.reshape(-1)
        array = array[:: max(1, len(array) // MAX_ARRAY_ITEMS)]
        if isinstance(array, torch.Tensor):
            array = array.contiguous().view(torch.uint8).numpy()
        if array.dtype == object:
            self._all("objects", array.tolist())
        else:
            self._hash.update(array.tobytes())

    def _all(self, kind: str, values: Iterable[object]) -> None:
        items = list(values)
        self._text(kind, str(len(items)))
        for item in items:
            self.add(item)

    def _note_hash(self, name: str) -> None:
        self.by_name.setdefault(name, self.hexdigest())

    def _text(self, *parts: str) -> None:
        for part in parts:
            data = part.encode()
            self._hash.update(len(data).to_bytes(8, "little") + data)


def _plain_function(member: object) -> FunctionType | None:
    if isinstance(member, property):
        member = member.fget
    member = getattr(member, "__func__", member)
    return member if isinstance(member, FunctionType) else None
