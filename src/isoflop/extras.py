"""Packages of extras: imported when they are used, named when they are missing."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from isoflop.display.format import join_words
from isoflop.errors import InstallError

__all__ = ["TRAIN", "load_extra", "require_train"]

TRAIN = ("torch", "accelerate")
"""Packages of the extra `train`."""


def require_train() -> None:
    """Raise InstallError where a package of the extra `train` is missing, without importing any."""
    missing = [name for name in TRAIN if find_spec(name) is None]
    if missing:
        raise InstallError(
            f"Tasks and their training need the extra train, but {join_words(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed; {_remedy('train')}."
        )


def load_extra(package: str, extra: str) -> ModuleType:
    """The package, imported. Raises InstallError with the command that installs it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise  # the package is installed, but one of its own imports is missing
        needed = f"This needs the package {package}, which is not installed"
        raise InstallError(f"{needed}; {_remedy(extra)}.") from error


def _remedy(extra: str) -> str:
    return f"run: pip install 'isoflop[{extra}]'"
