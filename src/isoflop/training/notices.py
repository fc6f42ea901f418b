"""What training says on stderr, line by line."""

import sys
from contextlib import suppress

__all__ = ["say"]


def say(line: str) -> None:
    """Print a line of isoflop's on stderr; a terminal that has gone away costs no run."""
    with suppress(OSError, ValueError):
        print(f"isoflop: {line}", file=sys.stderr, flush=True)
