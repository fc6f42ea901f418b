"""The runs of a check at one size, and how far a planned setting is from the best one there.

The setting is a learning rate or a batch, tried at the planned value and at others around it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.display.format import join_words
from isoflop.fitting.rate_offsets import WALL, Offsets, OffsetsPrior, offsets_of
from isoflop.laws.base import Array
from isoflop.runs import Run, SizeValue

__all__ = ["Bound", "CheckedSize", "checked_size", "named", "offsets_at"]

USUAL_FREEDOM = 2
"""Degrees of freedom of the usual noise in that of a size, beside those of its seeds."""


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
    def has_seeds(self) -> bool:
        """Whether a value was tried with several seeds."""
        return len(np.unique(self.u)) < len(self.u)

    @property
    def is_paired(self) -> bool:
        """Whether every value was tried with the same seeds.

        A seed sets the first weights and the order of the data, which shift the losses of all
        values alike: they are then compared under the same seed.
        """
        return len({tuple(sorted(seeds)) for _, seeds in self._values}) == 1

    def noise(self, usual: float) -> float:
        """Standard deviation of log loss between seeds, from this size's and the usual one.

        Where seeds are paired, what a seed adds at every value is not noise. Seeds of values whose
        loss is far above the lowest, which scatter more, count less.
        """
        losses = [y[np.argsort(seeds)] for y, seeds in self._values]
        lowest = min(y.mean() for y in losses)
        weights = [usual**2 / (usual**2 + (WALL * (y.mean() - lowest)) ** 2) for y in losses]
        around = [y - y.mean() for y in losses]
        freedom = [len(y) - 1.0 for y in losses]
        if self.is_paired:
            around = list(np.array(around) - np.average(around, axis=0, weights=weights))
            freedom = [
                each * (1 - weight / sum(weights))
                for each, weight in zip(freedom, weights, strict=True)
            ]
        own = sum(weight * float(y @ y) for weight, y in zip(weights, around, strict=True))
        known = sum(weight * each for weight, each in zip(weights, freedom, strict=True))
        return math.sqrt((USUAL_FREEDOM * usual**2 + own) / (USUAL_FREEDOM + known))

    @property
    def _values(self) -> list[tuple[Array, Array]]:
        """Finite log losses of each value that has some, and their seeds."""
        known = np.isfinite(self.y)
        at = [known & (self.u == value) for value in np.unique(self.u[known])]
        return [(self.y[one], self.seed[one]) for one in at]

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
    prior: OffsetsPrior,
    shifts: Sequence[float] | None = None,
) -> Offsets | None:
    """The offsets; None where fewer than two sizes have runs that did not diverge.

    noise: usual standard deviation of log loss between seeds.
    shifts: log of each size's planned value over the one that offsets are told of; None for 0.
    """
    noises = [each.noise(noise) for each in sizes]
    # a size without seeds of its own scatters more than usual where another one does
    between = math.sqrt(noise * max(noises))
    rows: list[tuple[float, ...]] = []
    levels: dict[tuple[int, int], int] = {}
    for k, each in enumerate(sizes):
        shift = 0.0 if shifts is None else shifts[k]
        log_N, error = math.log(each.num_params), noises[k] if each.has_seeds else between
        for u, y, seed in zip(each.u, each.y, each.seed, strict=True):
            if math.isfinite(y):
                group = (k, int(seed) if each.is_paired else 0)
                number = levels.setdefault(group, len(levels))
                rows.append((number, log_N, u + shift, y, error))
    level, log_Ns, us, ys, errors = np.array(rows, dtype=float).reshape(-1, 5).T
    if len(np.unique(log_Ns)) < 2:
        return None
    return offsets_of(level, log_Ns, us, ys, errors, prior)


def named(sizes: Sequence[CheckedSize]) -> str:
    """The sizes by name, each once: "sizes 4 and 10"."""
    return f"sizes {join_words([*dict.fromkeys(str(each.size) for each in sizes)])}"
