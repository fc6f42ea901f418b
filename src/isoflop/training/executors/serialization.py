"""Work as bytes that any process can read: the user's own classes and functions travel inside."""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from isoflop.errors import ContractError, PlanError
from isoflop.libraries import user_modules
from isoflop.sources import imported_texts, take_texts

__all__ = ["dump_work"]


def dump_work(work: Any) -> bytes:
    """The work as it is here: no process that reads it takes the user's code from files, which may have been edited.

    What the user's modules define travels by value, with the values that it refers to. Where something in them cannot,
    a lock say, they are imported again by their readers, from the text that was imported here, and must then give the
    same task. Raises PlanError where the work cannot travel at all.
    """
    try:
        return _packed(_dumped(work, user_modules()))
    except Exception:
        try:
            return _packed(_dumped(work, []), mark_of(work))
        except Exception as error:
            raise PlanError(
                f"The task must be sent to workers, but it cannot be pickled ({type(error).__name__}: {error}); "
                f"keep open files, locks and generators out of the dataset, or train with InProcess()."
            ) from error


def _packed(dumped: bytes, mark: str | None = None) -> bytes:
    return pickle.dumps(_Packed(imported_texts(), dumped, mark))


@dataclass(frozen=True)
class _Packed:
    """Work in its bytes; reading it gives the work itself."""

    texts: Mapping[str, tuple[str, str]]
    dumped: bytes
    mark: str | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self.texts, self.dumped, self.mark)


def _unpacked(texts: Mapping[str, tuple[str, str]], dumped: bytes, mark: str | None) -> Any:
    take_texts(texts)
    work = pickle.loads(dumped)
    if mark is not None and mark_of(work) != mark:
        raise ContractError(
            "the code and values that the task refers to must be here what they are in the program that sent it, but "
            "they differ; pass what the program changes in its modules as arguments of the model"
        )
    return work


def mark_of(work: Any) -> str | None:
    """Stands for the code of the work's task; None of other work."""
    from isoflop.user_code.fingerprint import (
        digest_of_code,  # needs torch, which naming an executor must not load
    )

    return digest_of_code(work.task) if hasattr(work, "task") else None


def _dumped(work: Any, modules: list[ModuleType]) -> bytes:
    buffer = io.BytesIO()
    with _inside(modules) as pickler:
        pickler(buffer).dump(work)
    return buffer.getvalue()


@contextmanager
def _inside(modules: list[ModuleType]) -> Iterator[type[Any]]:
    """Inside the block, a pickler that puts these modules' classes and functions in by value."""
    import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        if modules:  # a cached function would go by its name
            dispatch_table = cloudpickle.CloudPickler.dispatch_table.new_child(
                {type(_cached): _reduce_cached}
            )

    mine = [
        module
        for module in modules
        if module.__name__ not in cloudpickle.list_registry_pickle_by_value()
    ]
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield Pickler
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)


@lru_cache
def _cached() -> None: ...


def _reduce_cached(function: Any) -> tuple[Any, ...]:
    return _cache_again, (function.__wrapped__, function.cache_parameters())


def _cache_again(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)
