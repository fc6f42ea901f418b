"""Saver: the checkpoints of a run under way; one that cannot be written is a line on stderr, and the run goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from isoflop.errors import StoreError
from isoflop.runs import RunSpec
from isoflop.storage.store import Store
from isoflop.training.notices import say
from isoflop.training.state import State, save

__all__ = ["Saver"]


@dataclass
class Saver:
    """Saves a run's state, and says once where that fails; the last good checkpoint then stays.

    Raises StoreError in place of that where runs are to branch off: their states could not be saved, either.
    """

    spec: RunSpec
    store: Store
    has_warned: bool = field(default=False, init=False)

    def save(self, state: State, waiting: Sequence[RunSpec]) -> None:
        try:
            save(state, self.spec, self.store)
        except StoreError as error:
            if waiting:
                raise
            if not self.has_warned:
                say(f"{error} Run {self.spec.id} goes on, and its last good checkpoint stays.")
            self.has_warned = True
