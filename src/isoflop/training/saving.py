"""Saver: saves the checkpoints of a run; one that cannot be written does not end the run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from isoflop.errors import StoreError
from isoflop.runs import RunSpec
from isoflop.storage.store import Workspace
from isoflop.training.notices import print_notice
from isoflop.training.state import State, save

__all__ = ["Saver"]


@dataclass
class Saver:
    """Saves a run's state; the first failure prints a line, and the last good checkpoint stays.

    Raises StoreError instead if runs are still to branch off: their states could not be saved,
    either.
    """

    spec: RunSpec
    store: Workspace
    has_warned: bool = field(default=False, init=False)

    def save(self, state: State, waiting: Sequence[RunSpec], *, is_first: bool) -> None:
        """Save the state; all ranks of a sharded run call it, and the first one writes."""
        try:
            save(state, self.spec, self.store, is_first=is_first)
        except StoreError as error:
            if waiting:
                raise
            if not self.has_warned:
                print_notice(
                    f"{error} Run {self.spec.id} goes on, and its last good checkpoint stays."
                )
            self.has_warned = True
