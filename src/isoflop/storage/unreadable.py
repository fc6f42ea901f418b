"""Unreadable: what stands for a run whose files cannot be read."""

import math
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs import Run, RunSpec
from isoflop.storage.files import Damaged, Unopened, cannot_be_read

__all__ = ["Unreadable", "unreadable"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Unreadable(Run):
    """Stands for a run whose record or curve cannot be read: a failed one, never recorded, whose error names the file.

    Its spec has no numbers where the files do not say what the run was.
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
    """The run of a folder whose file at `path` is damaged; spec: what it was, where something says."""
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
