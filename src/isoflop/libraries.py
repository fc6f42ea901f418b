"""Distinction between libraries and the user's own code."""

import sys
import sysconfig
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

__all__ = ["is_library", "lies_among_libraries", "user_module", "user_modules"]

# Resolved, as files are: an environment is often reached through a link.
_INSTALLED = {
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
}
_SITES = ("site-packages", "dist-packages")
_ALWAYS = {"isoflop", "torch", "numpy"}
"""Libraries wherever they are installed, a working copy included."""
_OWN = Path(__file__).parent


def is_library(module_name: str | None) -> bool:
    """True for modules of the interpreter, of installed packages, and isoflop's own."""
    root = (module_name or "").partition(".")[0]
    if root in _ALWAYS or root in sys.stdlib_module_names or root in sys.builtin_module_names:
        return True
    return lies_among_libraries(getattr(sys.modules.get(root), "__file__", None))


def user_module(name: str) -> ModuleType | None:
    """A user's module by its name, imported; None for a library, or where it does not exist."""
    if name not in sys.modules:
        try:
            if not _is_found_outside_libraries(name.partition(".")[0]):
                return None
            import_module(name)
        except (Exception, SystemExit):  # raised again, and shown, where the module is used
            return None
    return None if is_library(name) else sys.modules[name]


def _is_found_outside_libraries(root: str) -> bool:
    spec = find_spec(root)
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    return bool(places) and not any(map(lies_among_libraries, places))


@lru_cache(maxsize=4096)
def lies_among_libraries(file: str | None) -> bool:
    """True for a file of the interpreter, of an installed package, or of isoflop."""
    if file is None:
        return False
    if any(f"/{name}/" in file for name in _SITES):
        return True
    folders = Path(file).resolve().parents
    return any(
        folder.name in _SITES or folder in _INSTALLED or folder == _OWN for folder in folders
    )


def user_modules() -> list[ModuleType]:
    """The user's imported modules, without `__main__`; packages by their root alone."""
    roots = {name.partition(".")[0] for name in sys.modules} - {"__main__", "__mp_main__"}
    return [
        sys.modules[root]
        for root in sorted(roots)
        if root in sys.modules and _is_users(sys.modules[root])
    ]


def _is_users(module: object) -> bool:
    if not isinstance(module, ModuleType) or is_library(module.__name__):
        return False
    places = (
        [module.__file__]
        if getattr(module, "__file__", None)
        else list(getattr(module, "__path__", ()))
    )
    return bool(places) and not any(lies_among_libraries(str(place)) for place in places)
