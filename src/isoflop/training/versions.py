"""Versions of the software that a run was trained with."""

import platform
import sys

from isoflop import __version__

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Versions that can change a result, with that of torch where it is loaded."""
    torch = sys.modules.get("torch")
    own = {} if torch is None else {"torch": str(torch.__version__)}
    return {"isoflop": __version__, **own, "python": platform.python_version()}
