"""Lines of training on stderr."""

import sys
from contextlib import suppress

__all__ = ["print_notice"]


def print_notice(line: str) -> None:
    """Print a line on stderr; a terminal that has gone away costs no run."""
    with suppress(OSError, ValueError):
        print(f"isoflop: {line}", file=sys.stderr, flush=True)
