"""TrainerWork: trains specs by a function of the user's, in any framework."""

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Protocol, runtime_checkable

from isoflop import arguments
from isoflop.display.format import format_items, one_line
from isoflop.errors import PlanError
from isoflop.family import Family
from isoflop.results import run_of, tokens_off
from isoflop.runs import Run, RunSpec
from isoflop.sources import function_tree
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.executors.contract import Demand, OnProgress
from isoflop.training.executors.stored_work import StopRequested, StoredWork, new_session
from isoflop.training.interrupt import leave, raised_stops
from isoflop.training.notices import print_notice
from isoflop.training.versions import versions

__all__ = [
    "Checked",
    "Trainer",
    "TrainerWork",
    "check_trainer",
    "name_of",
    "report_others",
    "version_of",
]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where in memory a function among a trainer's values lies, in another place in each process."""
Trainer = Callable[[RunSpec, Path], object]
"""Trains a spec in a folder of its own and returns its held-out loss, or a mapping with it."""


@runtime_checkable
class Checked(Protocol):
    """A trainer that can find its faults before the first run."""

    def check(self, specs: Sequence[RunSpec], *, is_here: bool) -> None:
        """Raise ContractError where a spec cannot be trained.

        is_here: whether runs are trained on this machine, so that its programs matter.
        """


@dataclass(frozen=True)
class TrainerWork(StoredWork):
    """Trains specs by calling a trainer, which resumes from its own files in the run's folder.

    A stop ends the call at once, by KeyboardInterrupt or SystemExit as in any Python program. What
    a trainer returns after a stop was requested is not recorded: it may be half a run.
    """

    trainer: Trainer
    store: Store
    on_progress: OnProgress | None = None
    demands: Mapping[str, Demand] = field(default_factory=dict)
    expendable: bool = False
    session: str = field(default_factory=new_session)
    version: str = ""
    """What runs say of the trainer; a worker may not have its source."""

    def __post_init__(self) -> None:
        if not self.version:
            object.__setattr__(self, "version", version_of(self.trainer))

    def stops(self) -> AbstractContextManager[StopRequested]:
        return raised_stops()

    def trained(self, spec: RunSpec, stop_requested: StopRequested) -> Run:
        folder, began = self.folder(spec), time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        result = self.trainer(spec, folder)
        stop = stop_requested()
        if stop is not None:
            leave(stop)
        seconds = time.monotonic() - began
        own = {**versions(), "trainer": self.version}
        run = run_of(spec, result, seconds=seconds, versions=own)
        if run.status == "completed" and (off := tokens_off(spec, run.num_tokens)):
            print_notice(f"run {spec.id}: {off}; it is recorded with what was trained.")
        return run

    def folder(self, spec: RunSpec) -> Path:
        """The folder of a run's files, the same at every try."""
        if self.store.folder is None:
            return Path(tempfile.gettempdir()) / f"isoflop-{self.session}" / spec.id
        return self.store.folder / spec.id / "trainer"


def name_of(trainer: Trainer) -> str:
    """The trainer's own name."""
    name = getattr(trainer, "__qualname__", None) or type(trainer).__qualname__
    return str(name)[:200]


def version_of(trainer: Trainer) -> str:
    """The trainer's name with a digest of its own code, or of its values; not of what it calls."""
    digest = hashlib.sha256(_code_of(trainer).encode()).hexdigest()[:8]
    return f"{name_of(trainer)} {digest}"


def _code_of(trainer: Trainer) -> str:
    own = getattr(trainer, "__wrapped__", trainer)
    if isinstance(own, FunctionType):
        return function_tree(own) or f"{own.__code__.co_code!r} {own.__code__.co_names}"
    return _ADDRESS.sub("", repr(trainer))


def report_others(trainer: Trainer, runs: Iterable[Run]) -> None:
    """Print how many recorded runs another trainer, or this one with other code, has trained."""
    own = version_of(trainer)
    others = [run for run in runs if run.versions.get("trainer", own) != own]
    if others:
        print_notice(
            f"{format_items(len(others), 'run')} of the store "
            f"{'was' if len(others) == 1 else 'were'} trained by "
            f"{one_line(others[0].versions['trainer'], 60)}, not by {one_line(own, 60)} as it is "
            "now; give Family(name=) another name to train them again."
        )


def check_trainer(task: Task | Family, trainer: object) -> None:
    """Raise PlanError for what cannot be called with a spec and a folder; a Task needs none."""
    if trainer is None:
        if isinstance(task, Family):
            raise PlanError(
                "A Family is trained by a trainer of yours: give train(trainer=), a function "
                "(spec, folder) -> loss or an isoflop.Command."
            )
        return
    if isinstance(trainer, type) or not callable(trainer):
        raise arguments.refused(
            trainer,
            "train: trainer",
            "a function (spec, folder) -> loss, or an isoflop.Command",
            error=PlanError,
        )
