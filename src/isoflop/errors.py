"""The tree of errors that isoflop raises.

IsoflopError
├── ContractError   the user's model, data or loss breaks the contract (also a ValueError)
├── PlanError       no plan is possible, or it needs consent to its cost (also a ValueError)
├── DataError       measurements that cannot answer the question (also a ValueError)
├── StoreError      a store cannot be read or written (also an OSError)
└── InstallError    a package that an extra installs is missing (also an ImportError)

Every message is one sentence or two: the rule, the value that broke it, the remedy.
"""

from isoflop.display.format import one_line

__all__ = [
    "ContractError",
    "DataError",
    "InstallError",
    "IsoflopError",
    "PlanError",
    "StoreError",
    "first_line",
]


MOST_CHARACTERS = 300
"""Longest message; a longer one loses its middle, because its ends are the rule and the remedy."""


CUT = " … "
"""Mark in place of the middle of a long message."""


class IsoflopError(Exception):
    """Base of all errors that isoflop raises on purpose; the message is one paragraph."""

    def __init__(self, *words: object) -> None:
        super().__init__(*map(_readable, words))


class ContractError(IsoflopError, ValueError):
    """The user's model, data or loss breaks the contract."""


class PlanError(IsoflopError, ValueError):
    """No plan is possible, or its cost needs consent."""


class DataError(IsoflopError, ValueError):
    """Measurements that cannot answer the question."""


class StoreError(IsoflopError, OSError):
    """A store cannot be read or written."""


class InstallError(IsoflopError, ImportError):
    """A package that an extra of isoflop installs is missing."""


def _readable(words: object) -> object:
    """A message in one line, without its middle where it is too long."""
    if not isinstance(words, str):
        return words
    shown = one_line(words, 10 * len(words) + 1)
    if len(shown) <= MOST_CHARACTERS:
        return shown
    end = MOST_CHARACTERS // 3
    return f"{shown[: MOST_CHARACTERS - end - len(CUT)]}{CUT}{shown[-end:]}"


def first_line(error: BaseException, most: int = 120) -> str:
    """First line of another library's error, short and without its full stop; may be empty."""
    return one_line((str(error).strip().splitlines() or [""])[0], most).rstrip(".")
