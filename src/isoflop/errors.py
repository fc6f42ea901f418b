"""What isoflop raises, as a tree.

IsoflopError
├── ContractError   the user's model, data or loss does not keep the contract (also a ValueError)
├── PlanError       a plan cannot be made or may not be paid for (also a ValueError)
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
"""Of a message; the rule stands at its beginning and the remedy at its end, so that its middle is what is cut."""


CUT = " … "
"""Where the middle of a message is left out."""


class IsoflopError(Exception):
    """Base of everything that isoflop raises on purpose; its message is one paragraph that a person reads."""

    def __init__(self, *words: object) -> None:
        super().__init__(*map(_readable, words))


class ContractError(IsoflopError, ValueError):
    """The user's model, data or loss does not keep the contract."""


class PlanError(IsoflopError, ValueError):
    """A plan cannot be made, or may not be paid for without consent."""


class DataError(IsoflopError, ValueError):
    """Measurements that cannot answer the question."""


class StoreError(IsoflopError, OSError):
    """A store cannot be read or written."""


class InstallError(IsoflopError, ImportError):
    """A package that an extra of isoflop installs is missing."""


def _readable(words: object) -> object:
    """A message in one line, with what stands in its middle cut where it is longer than people read."""
    if not isinstance(words, str):
        return words
    shown = one_line(words, 10 * len(words) + 1)
    if len(shown) <= MOST_CHARACTERS:
        return shown
    end = MOST_CHARACTERS // 3
    return f"{shown[: MOST_CHARACTERS - end - len(CUT)]}{CUT}{shown[-end:]}"


def first_line(error: BaseException, most: int = 120) -> str:
    """What another's error says, in one short line without its full stop; empty where it says nothing."""
    return one_line((str(error).strip().splitlines() or [""])[0], most).rstrip(".")
