"""Work as bytes for other processes, with the user's own classes and functions inside."""

import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from isoflop.errors import ContractError, PlanError
from isoflop.libraries import user_modules
from isoflop.sources import imported_texts, take_texts

if TYPE_CHECKING:
    from functools import _CacheParameters, _lru_cache_wrapper

__all__ = ["dump_work", "is_portable", "without_main"]

R = TypeVar("R")


def dump_work(work: object) -> bytes:
    """The work as bytes, with the user's code as imported in this process.

    Readers never take the user's code from files, which may have been edited since. Definitions of
    the user's modules travel by value, with the values they refer to. If one of these cannot be
    pickled, such as a lock, readers import the modules again, from the text that was imported
    here, and the result must give the same task.

    Raises PlanError if the work cannot be pickled either way.
    """
    try:
        return _packed(_dumped(work, user_modules()))
    except Exception:
        try:
            return _packed(_dumped(work, []), _code_fingerprint(work))
        except Exception as error:
            raise PlanError(
                f"The task must be sent to workers, but it cannot be pickled "
                f"({type(error).__name__}: {error}); keep open files, locks and generators out of "
                f"the dataset, or train with InProcess()."
            ) from error


def is_portable(work: object, most_bytes: int) -> bool:
    """Whether `dump_work` can send the work, in about so many bytes at most."""
    try:
        with _inside(user_modules()) as pickler:
            pickler(_Bounded(most_bytes)).dump(work)  # type: ignore[arg-type]  # it only writes
    except Exception:  # of any kind: the user's classes decide
        return False
    return True


@dataclass
class _Bounded:
    """A file that counts, and refuses more than some bytes."""

    left: int

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise OverflowError("too large")
        return len(data)


def _packed(dumped: bytes, fingerprint: str | None = None) -> bytes:
    return pickle.dumps(_Packed(imported_texts(), dumped, fingerprint))


@dataclass(frozen=True)
class _Packed:
    """Pickled work; unpickling this object gives the work itself."""

    texts: Mapping[str, tuple[str, str]]
    dumped: bytes
    fingerprint: str | None

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _unpacked, (self.texts, self.dumped, self.fingerprint)


def _unpacked(
    texts: Mapping[str, tuple[str, str]], dumped: bytes, fingerprint: str | None
) -> object:
    take_texts(texts)
    work: object = pickle.loads(dumped)
    if fingerprint is not None and _code_fingerprint(work) != fingerprint:
        raise ContractError(
            "the code and values that the task refers to must be here what they are in the program "
            "that sent it, but they differ; pass what the program changes in its modules as "
            "arguments of the model"
        )
    return work


def _code_fingerprint(work: object) -> str | None:
    """Digest of the code of the work's task; None for work without a task."""
    # imported here: it needs torch, which naming an executor must not load
    from isoflop.user_code.fingerprint import digest_of_code

    task = getattr(work, "task", None)
    return None if task is None else digest_of_code(task)


def _dumped(work: object, modules: list[ModuleType]) -> bytes:
    buffer = io.BytesIO()
    with _inside(modules) as pickler:
        pickler(buffer).dump(work)
    return buffer.getvalue()


@contextmanager
def _inside(modules: list[ModuleType]) -> Iterator[Callable[[io.BytesIO], pickle.Pickler]]:
    """Inside the block, a pickler that copies the classes and functions of these modules."""
    import cloudpickle

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        if modules:  # a cached function would be pickled by name
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


def _reduce_cached(
    function: "_lru_cache_wrapper[object]",
) -> tuple[Callable[..., object], tuple[object, ...]]:
    return _cache_again, (function.__wrapped__, function.cache_parameters())


def _cache_again(function: Callable[..., R], parameters: "_CacheParameters") -> Callable[..., R]:
    return lru_cache(maxsize=parameters["maxsize"], typed=parameters["typed"])(function)


@contextmanager
def without_main() -> Iterator[None]:
    """Hide `__main__` inside the block: spawned processes would run an unguarded script again."""
    main: dict[str, object] = vars(sys.modules["__main__"])
    names = [name for name in ("__spec__", "__file__") if name in main]
    hidden: dict[str, object] = {name: main.pop(name) for name in names}
    main["__spec__"] = None  # multiprocessing requires the attribute
    try:
        yield
    finally:
        main.pop("__spec__")
        main.update(hidden)
