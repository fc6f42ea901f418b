"""Packages that only one executor needs, imported when it is used."""

from importlib import import_module
from typing import Any

from isoflop.errors import IsoflopError

__all__ = ["load_extra"]


def load_extra(package: str, extra: str) -> Any:
    """The package, imported. Raises IsoflopError that says how to install it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise  # it is there, but something that it needs is not
        raise IsoflopError(
            f"This executor needs the package {package}; install it with: pip install 'isoflop[{extra}]'."
        ) from error
