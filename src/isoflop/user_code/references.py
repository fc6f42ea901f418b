"""The values that a function's code refers to, read from its instructions."""

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import TypeGuard

from isoflop.libraries import is_library, user_module

__all__ = ["referred_by", "stored_attributes", "written_cells"]

_Named = Iterator[tuple[str, object]]


def referred_by(function: FunctionType) -> _Named:
    """Globals that a function's code reads, and names that it uses inside the user's own modules.

    A name that the code also writes is state, such as a counter, and no setting.
    """
    code, space = function.__code__, function.__globals__
    names = sorted(_named(code, _READS_GLOBAL) - _named(code, _WRITES_GLOBAL))
    inside = sorted(_named(code, _READS_ATTRIBUTE))
    for name in names:
        value = space.get(name)
        if _is_own_module(value):
            yield from _in_module(name, value, inside)
        elif name in space and not isinstance(value, ModuleType):
            yield name, value
    for name in sorted(_imported(code, space.get("__package__") or "")):
        if (module := user_module(name)) is not None:
            yield from _in_module(name, module, inside)


def _in_module(
    name: str, module: ModuleType, inside: list[str], above: tuple[ModuleType, ...] = ()
) -> _Named:
    """The attribute names that code reads, as far as a module or those inside it have them."""
    for inner in inside:
        value = vars(module).get(inner)
        if _is_own_module(value):
            if value is not module and value not in above:
                yield from _in_module(f"{name}.{inner}", value, inside, (*above, module))
        elif inner in vars(module):
            yield f"{name}.{inner}", value


@lru_cache(maxsize=4096)
def _imported(code: CodeType, package: str) -> frozenset[str]:
    """Full names of the modules that code imports when it runs, and of the names in them."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    names, module = set[str](), ""
    for k, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":  # after the number of dots and the names
            parents = (
                package.split(".")[: 1 - steps[k - 2].argval or None] if steps[k - 2].argval else []
            )
            module = ".".join(filter(None, [*parents, step.argval]))
            names.add(module)
        elif step.opname == "IMPORT_FROM":  # may be a module too
            names.add(f"{module}.{step.argval}")
    inner = (
        _imported(constant, package)
        for constant in code.co_consts
        if isinstance(constant, CodeType)
    )
    return frozenset(names.union(*inner))


def _is_own_module(value: object) -> TypeGuard[ModuleType]:
    return isinstance(value, ModuleType) and not is_library(value.__name__)


_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_WRITES_GLOBAL = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_READS_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"})


@lru_cache(maxsize=4096)
def _named(code: CodeType, operations: frozenset[str]) -> frozenset[str]:
    """Names that some operations of code, and of functions inside it, have as their argument.

    An attribute `x.time` and a global `time` share their entry in `co_names`; only the operation
    distinguishes them.
    """
    steps = dis.get_instructions(code)
    own = frozenset(step.argval for step in steps if step.opname in operations)
    inner = (
        _named(constant, operations)
        for constant in code.co_consts
        if isinstance(constant, CodeType)
    )
    return own.union(*inner)


def stored_attributes(code: CodeType) -> frozenset[str]:
    """Names of attributes that code writes."""
    return _named(code, frozenset({"STORE_ATTR", "DELETE_ATTR"}))


def written_cells(code: CodeType) -> frozenset[str]:
    """Names of the enclosing function that code writes."""
    return _named(code, frozenset({"STORE_DEREF", "DELETE_DEREF"}))
