"""Work as bytes that any process can read: the user's own classes and functions travel inside."""

import io
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from isoflop.errors import PlanError

__all__ = ["dump_work"]


def dump_work(work: Any, *, with_modules: bool) -> bytes:
    """The work by value. What `__main__` defines is always inside; `with_modules` puts in the user's imported modules.

    Without them a reader must find these modules on its own `sys.path`. Raises PlanError where something, an open
    file say, cannot travel.
    """
    buffer = io.BytesIO()
    try:
        with _inside(_user_modules() if with_modules else []) as pickler:
            pickler(buffer).dump(work)
    except Exception as error:
        raise PlanError(
            f"The task must be sent to workers, but it cannot be pickled ({type(error).__name__}: {error}); "
            f"keep open files, locks and generators out of the dataset, or train with InProcess()."
        ) from error
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


def _user_modules() -> list[ModuleType]:
    """Imported modules that are neither installed, nor the interpreter's, nor isoflop's: those of the user's folder."""
    roots = {name.partition(".")[0] for name in sys.modules} - {
        "isoflop",
        "__main__",
        "__mp_main__",
    }
    return [
        sys.modules[root]
        for root in sorted(roots)
        if root in sys.modules and _is_users(sys.modules[root])
    ]


_INSTALLED = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in sysconfig.get_path_names()[:4]}
)


def _is_users(module: Any) -> bool:
    if not isinstance(module, ModuleType) or module.__name__ in sys.stdlib_module_names:
        return False
    places = (
        [module.__file__]
        if getattr(module, "__file__", None)
        else list(getattr(module, "__path__", ()))
    )
    return bool(places) and not any(
        str(Path(str(place)).resolve()).startswith(_INSTALLED) for place in places
    )
