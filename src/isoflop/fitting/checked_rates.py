"""What the check of a sweep's learning rates shows, in words and as a verdict."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isoflop.display.format import format_count, format_number, format_percent, join_words
from isoflop.fitting.rate_offsets import WALL, Offsets, offsets_of
from isoflop.fitting.setting_rule import USUAL_NOISE
from isoflop.laws.base import Array
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec, SizeValue

__all__ = ["CheckedSize", "RateFinding", "constants_of", "find_rates", "reach_of"]

FEWEST_RATES = 3
USUAL_FREEDOM = 2
"""Degrees of freedom of the usual noise in that of a size, beside those of its seeds."""
SURE, SURE_AT_SIZES = 0.93, 0.97
"""Probability of its sign from which on an offset is not noise: where the answer is decided, and at
the two checked sizes, which are two more places to be wrong by chance."""
MATERIAL, MATERIAL_AT_SIZES = 0.005, 0.02
"""Share of the loss below which a wrong rate does no harm, at the same places."""
OPEN = 0.015
"""Share of the loss that the rates may cost, to a standard deviation, before a check counts as
open."""

Verdict = Literal["holds", "wrong", "open"]


@dataclass(frozen=True, eq=False)
class CheckedSize:
    """The runs of one size: log of each rate over the planned one, log loss, and seed.

    A run that diverged has an infinite loss.
    """

    size: SizeValue | None
    num_params: float
    u: Array
    y: Array
    seed: Array

    @property
    def diverged(self) -> bool:
        """Whether a run at the planned rate diverged."""
        at_planned = np.abs(self.u) == np.abs(self.u).min()
        return bool(np.isinf(self.y[at_planned]).any())

    @property
    def has_seeds(self) -> bool:
        """Whether a rate was tried with several seeds."""
        return len(np.unique(self.u)) < len(self.u)

    @property
    def is_paired(self) -> bool:
        """Whether every rate was tried with the same seeds.

        A seed sets the first weights and the order of the data, which shift the losses of all
        rates alike: rates are then compared under the same seed.
        """
        return len({tuple(sorted(seeds)) for _, seeds in self._rates}) == 1

    def noise(self, usual: float) -> float:
        """Standard deviation of log loss between seeds, from this size's and the usual one.

        Where seeds are paired, what a seed adds at every rate is not noise. Seeds of rates far
        above the best one, which scatter more, count less.
        """
        rates = [y[np.argsort(seeds)] for y, seeds in self._rates]
        lowest = min(y.mean() for y in rates)
        weights = [usual**2 / (usual**2 + (WALL * (y.mean() - lowest)) ** 2) for y in rates]
        around = [y - y.mean() for y in rates]
        freedom = [len(y) - 1.0 for y in rates]
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
    def _rates(self) -> list[tuple[Array, Array]]:
        """Finite log losses of each rate that has some, and their seeds."""
        known = np.isfinite(self.y)
        at = [known & (self.u == rate) for rate in np.unique(self.u[known])]
        return [(self.y[one], self.seed[one]) for one in at]

    @property
    def gain(self) -> tuple[float, float]:
        """The best of the tried rates over the planned one, and the share of loss that it saves."""
        rates = np.unique(self.u)
        means = [float(self.y[self.u == rate].mean()) for rate in rates]
        best, planned = int(np.argmin(means)), int(np.argmin(np.abs(rates)))
        return math.exp(rates[best]), -math.expm1(means[best] - means[planned])


@dataclass(frozen=True, eq=False)
class RateFinding:
    """What a check shows of the planned learning rates.

    verdict: whether their rule holds, is wrong, or the check is open.
    wrong_at: params of the largest size at which it is surely wrong; None for none.
    offsets: how far the rates are from the best ones; None where no losses can be compared.
    reach: params of the sizes that decide an answer, for which the verdict is, too.
    """

    verdict: Verdict
    sizes: tuple[CheckedSize, ...]
    offsets: Offsets | None
    reach: float
    wrong_at: float | None = None

    @property
    def note(self) -> Note:
        """The finding in words."""
        words = {"holds": self._holds, "wrong": self._wrong, "open": self._open}
        return Note(f"rates-{self.verdict}", words[self.verdict]())

    def _holds(self) -> str:
        return f"The rule of the learning rate holds at {self._names()}{self._cost()}."

    def _open(self) -> str:
        return (
            f"The check of the learning rates is open: at {self._names()} half and twice the "
            f"planned rate give losses that differ by no more than noise{self._cost()}."
        )

    def _cost(self) -> str:
        """What the rates may cost where the answer is decided."""
        if self.offsets is None:
            return ""
        most = format_percent(_most_lost(self.offsets, self.reach))
        return f"; at {format_count(self.reach)} params the rates may cost {most} of the loss"

    def _wrong(self) -> str:
        diverged = [str(each.size) for each in self.sizes if each.diverged]
        if self.wrong_at is None or self.offsets is None:
            at = f"size{'s' if len(diverged) > 1 else ''} {join_words(diverged)}"
            return f"The planned learning rate diverges at {at}; {REMEDY}."
        offset, _ = self.offsets.offset(self.wrong_at)
        times = f"{format_number(math.exp(abs(offset)), 2)} times too"
        return (
            f"{self._gains()}At {format_count(self.wrong_at)} params the planned learning rate is "
            f"about {times} {'high' if offset > 0 else 'low'}, which costs about "
            f"{format_percent(self.offsets.likely_lost(self.wrong_at))} of the loss; {REMEDY}."
        )

    def _gains(self) -> str:
        """What half or twice the rate saves; where that is so at one size alone, the best moves."""
        better = [each for each in self.sizes if each.gain[1] > 0]
        if not better:
            return ""
        alike = len(better) == len(self.sizes) and len({each.gain[0] > 1 for each in better}) == 1
        text = join_words([_gain(each) for each in better])
        return f"{text[0].upper()}{text[1:]}{'.' if alike else ': the optimum moves.'} "

    def _names(self) -> str:
        return f"sizes {join_words([*dict.fromkeys(str(each.size) for each in self.sizes)])}"


REMEDY = "run isoflop.tune, and sweep again with its recipe"


def find_rates(
    checks: Iterable[Run], reach: float, noise: float | None = None
) -> RateFinding | None:
    """What the runs of a check show; None without two checked sizes.

    reach: params of the sizes that decide an answer, by `reach_of`.
    noise: standard deviation of log loss between seeds; None for the usual one.
    """
    sizes = _sizes_of([*checks])
    if len({size.num_params for size in sizes}) < 2:
        return None
    reach = max(reach, sizes[-1].num_params)
    if any(size.diverged for size in sizes):
        return RateFinding("wrong", sizes, None, reach)
    offsets = _offsets(sizes, noise or USUAL_NOISE)
    if offsets is None:
        return RateFinding("open", sizes, None, reach)
    wrong_at = _wrong_at(offsets, sizes, reach)
    verdict: Verdict = "holds" if _most_lost(offsets, reach) <= OPEN else "open"
    return RateFinding("wrong" if wrong_at else verdict, sizes, offsets, reach, wrong_at)


def constants_of(spec: RunSpec) -> tuple[object, ...]:
    """The settings that a recipe gives to all of its runs."""
    return spec.schedule, spec.cooldown, spec.beta1, spec.clip, spec.precision, spec.ema


def reach_of(specs: Iterable[RunSpec]) -> float:
    """Params in the middle of the runs that cost most: the sizes that decide an answer."""
    known = [*specs]
    least = max(spec.flops for spec in known) / 2
    return float(np.median([spec.num_params for spec in known if spec.flops >= least]))


def _offsets(sizes: Sequence[CheckedSize], noise: float) -> Offsets | None:
    """The offsets; None where fewer than two sizes have runs that did not diverge."""
    noises = [each.noise(noise) for each in sizes]
    # a size without seeds of its own scatters more than usual where another one does
    between = math.sqrt(noise * max(noises))
    rows: list[tuple[float, ...]] = []
    levels: dict[tuple[int, int], int] = {}
    for k, each in enumerate(sizes):
        log_N, error = math.log(each.num_params), noises[k] if each.has_seeds else between
        for u, y, seed in zip(each.u, each.y, each.seed, strict=True):
            if math.isfinite(y):
                group = (k, int(seed) if each.is_paired else 0)
                rows.append((levels.setdefault(group, len(levels)), log_N, u, y, error))
    level, log_Ns, us, ys, errors = np.array(rows, dtype=float).reshape(-1, 5).T
    return offsets_of(level, log_Ns, us, ys, errors) if len(np.unique(log_Ns)) > 1 else None


def _wrong_at(offsets: Offsets, sizes: Sequence[CheckedSize], reach: float) -> float | None:
    """The largest size at which the planned rate is off by more than noise, and at a cost."""
    bounds = [(reach, SURE, MATERIAL)]
    bounds += [(each.num_params, SURE_AT_SIZES, MATERIAL_AT_SIZES) for each in sizes]
    wrong = [
        num_params
        for num_params, sure, material in bounds
        if offsets.sureness(num_params) > sure and offsets.likely_lost(num_params) > material
    ]
    return max(wrong, default=None)


def _most_lost(offsets: Offsets, num_params: float) -> float:
    """Log loss that the planned rate costs at a size, with a standard deviation more."""
    mean, deviation = offsets.lost(num_params)
    return mean + deviation


def _sizes_of(runs: Sequence[Run]) -> tuple[CheckedSize, ...]:
    """The sizes with runs at three rates or more, the smallest first."""
    groups: dict[Hashable, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.num_params, run.spec.num_tokens)):
        if run.spec.lr and run.spec.checked_lr and (run.status == "diverged" or run.loss > 0):
            groups.setdefault(_alike(run.spec), []).append(run)
    return tuple(
        _size_of(group)
        for group in groups.values()
        if len({run.spec.lr for run in group}) >= FEWEST_RATES
    )


def _alike(spec: RunSpec) -> Hashable:
    """What runs have in common whose losses show the effect of their rates alone."""
    planned = (spec.num_params, spec.num_tokens, spec.checked_lr)
    return *planned, spec.batch, spec.warmup, spec.beta2, *constants_of(spec)


def _size_of(runs: Sequence[Run]) -> CheckedSize:
    over = [(run.spec.lr or math.nan) / (run.spec.checked_lr or math.nan) for run in runs]
    u = np.round(np.log(np.array(over)), 9)
    losses = [run.loss if run.status == "completed" else math.inf for run in runs]
    seeds = np.array([run.spec.seed for run in runs])
    return CheckedSize(runs[0].size, runs[0].num_params, u, np.log(np.array(losses)), seeds)


def _gain(size: CheckedSize) -> str:
    factor, share = size.gain
    what = "doubling" if factor > 1 else "halving"
    return f"{what} the rate lowers the loss at size {size.size} by {format_percent(share)}"
