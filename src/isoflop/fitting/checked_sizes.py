"""The runs of a check at one size, and how far a planned setting is from the best one there.

The setting is a learning rate or a batch, tried at the planned value and at others around it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.display.format import join_words
from isoflop.fitting.cell_offset import SettingPrior
from isoflop.fitting.setting_offsets import Offsets, SizeTries, offsets_of
from isoflop.laws.base import Array
from isoflop.runs import Run, SizeValue

__all__ = ["Bound", "CheckedSize", "checked_size", "named", "offsets_at"]


@dataclass(frozen=True)
class Bound:
    """When an offset counts as wrong.

    sure: probability of its sign from which on it is not noise.
    material: share of the loss below which it does no harm.
    """

    sure: float
    material: float

    def is_passed(self, offsets: Offsets, num_params: float) -> bool:
        """Whether the offset at a size is surely one, and matters."""
        return (
            offsets.sureness(num_params) > self.sure
            and offsets.likely_lost(num_params) > self.material
        )


@dataclass(frozen=True, eq=False)
class CheckedSize:
    """The runs of one size: log of each value over the planned one, log loss, and seed.

    A run that diverged has an infinite loss.
    """

    size: SizeValue | None
    num_params: float
    u: Array
    y: Array
    seed: Array

    @property
    def diverged(self) -> bool:
        """Whether a run at the planned value diverged."""
        at_planned = np.abs(self.u) == np.abs(self.u).min()
        return bool(np.isinf(self.y[at_planned]).any())

    @property
    def tries(self) -> SizeTries:
        """The runs that did not diverge.

        Where every value was tried with the same seeds, each seed has a level of its own: it sets
        the first weights and the order of the data, which shift the losses of all values alike.
        """
        known = np.isfinite(self.y)
        u, y, seed = self.u[known], self.y[known], self.seed[known]
        seeds = {tuple(sorted(seed[u == value])) for value in np.unique(u)}
        levels = np.unique(seed) if len(seeds) == 1 else np.zeros(1)
        own = seed if len(seeds) == 1 else np.zeros(len(seed))
        level = (own[:, None] == levels).astype(float)
        return SizeTries(math.log(self.num_params), u, y, level)

    @property
    def gain(self) -> tuple[float, float]:
        """The best of the values over the planned one, and the share of loss that it saves."""
        values = np.unique(self.u)
        means = [float(self.y[self.u == value].mean()) for value in values]
        best, planned = int(np.argmin(means)), int(np.argmin(np.abs(values)))
        return math.exp(values[best]), -math.expm1(means[best] - means[planned])


def checked_size(runs: Sequence[Run], over: Sequence[float]) -> CheckedSize:
    """The runs of one size. over: the value of each over the planned one."""
    u = np.round(np.log(np.array(over, dtype=float)), 9)
    losses = [run.loss if run.status == "completed" else math.inf for run in runs]
    seeds = np.array([run.spec.seed for run in runs])
    return CheckedSize(runs[0].size, runs[0].num_params, u, np.log(np.array(losses)), seeds)


def offsets_at(
    sizes: Sequence[CheckedSize],
    noise: float,
    prior: SettingPrior,
    shifts: Sequence[float] | None = None,
) -> Offsets:
    """The offsets of two sizes or more at which the planned value did not diverge.

    noise: standard deviation of log loss between seeds that is to be expected.
    shifts: log of each size's planned value over the one that offsets are told of; None for 0.
    """
    moved = [0.0] * len(sizes) if shifts is None else shifts
    tries = [
        one._replace(u=one.u + shift)
        for one, shift in zip((size.tries for size in sizes), moved, strict=True)
    ]
    return offsets_of(tries, noise, prior)


def named(sizes: Sequence[CheckedSize]) -> str:
    """The sizes by name, each once: "sizes 4 and 10"."""
    return f"sizes {join_words([*dict.fromkeys(str(each.size) for each in sizes)])}"
