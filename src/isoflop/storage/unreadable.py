"""Unreadable: placeholder for a run whose files cannot be read."""

import math
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs import Run, RunSpec
from isoflop.storage.files import Damaged, Unopened, cannot_be_read

__all__ = ["Unreadable", "unreadable"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Unreadable(Run):
    """Placeholder for a run whose record or curve cannot be read.

    It counts as failed, is never written, and its error names the file. The numbers of its spec
    are NaN where no file of the run has them.
    """

    folder: str
    """Name of the run's folder, its id."""
    path: Path
    """The file at fault."""
    damage: Damaged

    @property
    def id(self) -> str:
        return self.folder


def unreadable(path: Path, folder: str, damage: Damaged, spec: RunSpec | None) -> Unreadable:
    """The run of a folder whose file at `path` is damaged; spec: None where none can be read."""
    remedy = "make it readable" if isinstance(damage, Unopened) else "isoflop rerun sets it aside"
    return Unreadable(
        spec=spec or RunSpec(num_params=math.nan, num_tokens=math.nan, flops=math.nan),
        status="failed",
        num_tokens=0,
        flops=0.0,
        error=f"{cannot_be_read(path, damage)}; {remedy}",
        folder=folder,
        path=path,
        damage=damage,
    )
