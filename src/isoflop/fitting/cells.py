"""Cells: runs of one size on one number of tokens that differ in how they were trained.

Researchers' tables often have a sweep of learning rates, batches or weight decays in each cell. Its
rows are no replicates: the cell's loss is that of its best setting.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoflop.fitting.vertices import Paraboloid, fit_paraboloid
from isoflop.laws.base import Array
from isoflop.runs import Run

__all__ = ["SETTINGS", "Cell", "swept_cells"]

SETTINGS = ("lr", "batch", "weight_decay")
"""Settings whose best value a sweep finds."""
SURELY = 3
"""Settings in one cell that make a table a sweep."""
MANY = 0.1
"""Share of cells with two settings that do so, too; fewer are reruns."""

LEAST_GAIN = 0.002
"""Log loss by which a minimum between the settings must lie below the best run, to be used."""

Setting = tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of one size, number of tokens and part of the data."""

    runs: tuple[Run, ...]
    rows: tuple[int, ...]
    """Places of the runs among all."""

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Setting of each run."""
        return tuple(_setting(run) for run in self.runs)

    @cached_property
    def losses(self) -> dict[Setting, float]:
        """Mean loss of the seeds of each setting."""
        seeds: dict[Setting, list[float]] = {}
        for setting, run in zip(self.settings, self.runs, strict=True):
            seeds.setdefault(setting, []).append(run.loss)
        return {setting: float(np.mean(losses)) for setting, losses in seeds.items()}

    @cached_property
    def best(self) -> Setting:
        """The setting of the lowest loss."""
        return min(self.losses, key=lambda setting: self.losses[setting])

    @cached_property
    def best_rows(self) -> tuple[int, ...]:
        """Places of the runs at the best setting: its seeds."""
        pairs = zip(self.rows, self.settings, strict=True)
        return tuple(row for row, setting in pairs if setting == self.best)

    def tried(self, name: str) -> Array:
        """The different values of a setting, in increasing order."""
        place = SETTINGS.index(name)
        return np.unique([float(s[place] or 0.0) for s in self.losses if s[place] is not None])

    @cached_property
    def swept(self) -> tuple[str, ...]:
        """Settings with at least three values above 0."""
        return tuple(name for name in SETTINGS if np.sum(self.tried(name) > 0) >= SURELY)

    def steps_from_edge(self, name: str) -> int:
        """Number of tried values beyond the best one, on the side that has fewer."""
        values = self.tried(name)
        at = int(np.searchsorted(values, self.best[SETTINGS.index(name)] or 0.0))
        return min(at, len(values) - 1 - at)

    @cached_property
    def paraboloid(self) -> Paraboloid | None:
        """Log loss over the logs of the swept settings; None where it shows no minimum."""
        places = [SETTINGS.index(name) for name in self.swept]
        if not places:
            return None
        known = [
            (setting, loss)
            for setting, loss in self.losses.items()
            if all((setting[place] or 0.0) > 0 for place in places) and loss > 0
        ]
        z = np.log([[float(setting[place] or 1.0) for place in places] for setting, _ in known])
        return fit_paraboloid(z, np.log([loss for _, loss in known]))

    @property
    def between(self) -> float | None:
        """Loss at the minimum between the settings, where no run is near it; None where one is.

        It counts where it lies below the best run by more than twice the noise: a grid of steps as
        wide as that misses the minimum by amounts that differ from cell to cell.
        """
        found = self.paraboloid
        if found is None or not found.inside:
            return None
        gain = math.log(self.losses[self.best]) - found.log_loss
        return math.exp(found.log_loss) if gain > max(2 * found.noise, LEAST_GAIN) else None


def swept_cells(runs: Sequence[Run]) -> tuple[Cell, ...]:
    """The cells of a table of sweeps that have several settings; none of any other table.

    Records of training, which have a task or a curve, are no rows of such a table.
    """
    if any(run.curve for run in runs):
        return ()
    members: dict[Hashable, list[int]] = {}
    for row, run in enumerate(runs):
        if not run.spec.fingerprint and any(value is not None for value in _setting(run)):
            members.setdefault(_key(run), []).append(row)
    cells = [Cell(tuple(runs[row] for row in rows), tuple(rows)) for rows in members.values()]
    several = [cell for cell in cells if len(cell.losses) > 1]
    is_sweep = len(several) > MANY * len(cells) or any(
        len(cell.losses) >= SURELY for cell in several
    )
    return tuple(several) if is_sweep else ()


def _setting(run: Run) -> Setting:
    return (run.spec.lr, run.spec.batch, run.spec.weight_decay)


def _key(run: Run) -> Hashable:
    spec = run.spec
    return run.budget, run.num_params, run.num_tokens, spec.unique_tokens, spec.schedule
