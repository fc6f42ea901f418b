"""What the check of a sweep's learning rates shows, in words and as a verdict."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isoflop.display.format import format_count, format_number, format_percent, join_words
from isoflop.fitting.cell_offset import OF_RATES
from isoflop.fitting.checked_sizes import Bound, CheckedSize, checked_size, named, offsets_at
from isoflop.fitting.setting_offsets import Offsets
from isoflop.fitting.setting_rule import USUAL_NOISE
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec

__all__ = [
    "RateFinding",
    "Verdict",
    "constants_of",
    "costliest",
    "find_rates",
    "rate_over_planned",
    "reach_of",
    "shows_a_loss",
]

FEWEST_RATES = 3
AT_REACH = Bound(sure=0.93, material=0.005)
"""Of the sizes that decide an answer."""
AT_SIZES = Bound(sure=0.97, material=0.02)
"""Of the two checked sizes, which are two more places to be wrong by chance."""
OPEN = 0.015
"""Share of the loss that the rates may cost, to a standard deviation, before a check counts as
open."""
LENGTH_DEVIATION = 0.2
"""Standard deviation of the exponent of the tokens in the best rate about that of the rule: in the
six kinds of net of `benchmarks/training/starts.py` it is off by .0 to .5, and by about -.1 in a
transformer of 8e3 params between 4e4 and 2e6 bytes."""

Verdict = Literal["holds", "wrong", "open"]


@dataclass(frozen=True, eq=False)
class RateFinding:
    """What a check shows of the planned learning rates.

    verdict: whether their rule holds, is wrong, or the check is open.
    wrong_at: params of the largest size at which it is surely wrong; None for none.
    offsets: how far the rates are from the best ones; None where a planned rate diverged.
    reach: params of the sizes that decide an answer, for which the verdict is, too.
    num_tokens: of the checked runs, their geometric mean.
    """

    verdict: Verdict
    sizes: tuple[CheckedSize, ...]
    offsets: Offsets | None
    reach: float
    num_tokens: float
    wrong_at: float | None = None

    def offsets_on(self, num_tokens: float) -> Offsets | None:
        """The offsets of runs on so many tokens, less sure the more these differ from a check's."""
        if self.offsets is None:
            return None
        doubt = LENGTH_DEVIATION * abs(math.log(num_tokens / self.num_tokens))
        return self.offsets.moved(0.0, doubt)

    @property
    def note(self) -> Note:
        """The finding in words."""
        words = {"holds": self._holds, "wrong": self._wrong, "open": self._open}
        return Note(f"rates-{self.verdict}", words[self.verdict]())

    def _holds(self) -> str:
        return f"The rule of the learning rate holds at {named(self.sizes)}{self._cost()}."

    def _open(self) -> str:
        return (
            f"The check of the learning rates is open: half and twice the planned rate at "
            f"{named(self.sizes)} do not tell whether it is right{self._cost()}."
        )

    def _cost(self) -> str:
        """What the rates may cost where the answer is decided."""
        if self.offsets is None:
            return ""
        most, size = format_percent(_most_lost(self.offsets, self.reach)), format_count(self.reach)
        return (
            f"; as far as short runs tell, at {size} params the rates may cost {most} of the loss"
        )

    def _wrong(self) -> str:
        diverged = [str(each.size) for each in self.sizes if each.diverged]
        if self.wrong_at is None or self.offsets is None:
            at = f"size{'s' if len(diverged) > 1 else ''} {join_words(diverged)}"
            return f"The planned learning rate diverges at {at}; {REMEDY}."
        offset, _ = self.offsets.offset(self.wrong_at)
        times = f"{format_number(math.exp(abs(offset)), 2)} times too"
        return (
            f"{self._gains()}As far as short runs tell, at {format_count(self.wrong_at)} params "
            f"the planned learning rate is about {times} {'high' if offset > 0 else 'low'}, which "
            f"costs about {format_percent(self.offsets.likely_lost(self.wrong_at))} of the loss; "
            f"{REMEDY}."
        )

    def _gains(self) -> str:
        """What half or twice the rate saves; where that is so at one size alone, the best moves."""
        better = [each for each in self.sizes if each.gain[1] > 0]
        if not better:
            return ""
        alike = len(better) == len(self.sizes) and len({each.gain[0] > 1 for each in better}) == 1
        text = join_words([_gain(each) for each in better])
        return f"{text[0].upper()}{text[1:]}{'.' if alike else ': the optimum moves.'} "


REMEDY = "run isoflop.tune, and sweep again with its recipe"


def find_rates(
    checks: Iterable[Run], reach: float, noise: float | None = None
) -> RateFinding | None:
    """What the runs of a check show; None without two checked sizes.

    reach: params of the sizes that decide an answer, by `reach_of`.
    noise: standard deviation of log loss between seeds that is to be expected; None for the usual
        one.
    """
    runs = [*checks]
    sizes = _sizes_of(runs)
    if len({size.num_params for size in sizes}) < 2:
        return None
    reach = max(reach, sizes[-1].num_params)
    num_tokens = math.exp(np.mean([math.log(run.spec.num_tokens) for run in runs]))
    if any(size.diverged for size in sizes):
        return RateFinding("wrong", sizes, None, reach, num_tokens)
    offsets = offsets_at(sizes, noise or USUAL_NOISE, OF_RATES)
    wrong_at = _wrong_at(offsets, sizes, reach)
    verdict: Verdict = "holds" if _most_lost(offsets, reach) <= OPEN else "open"
    verdict = "wrong" if wrong_at else verdict
    return RateFinding(verdict, sizes, offsets, reach, num_tokens, wrong_at)


def constants_of(spec: RunSpec) -> tuple[object, ...]:
    """The settings that a recipe gives to all of its runs."""
    return spec.schedule, spec.cooldown, spec.beta1, spec.clip, spec.precision, spec.ema


def reach_of(specs: Iterable[RunSpec]) -> float:
    """Params in the middle of the runs that cost most: the sizes that decide an answer."""
    return float(np.median([spec.num_params for spec in costliest(specs)]))


def costliest(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The runs that cost at least half as much as the one that costs most."""
    known = [*specs]
    least = max(spec.flops for spec in known) / 2
    return [spec for spec in known if spec.flops >= least]


def _wrong_at(offsets: Offsets, sizes: Sequence[CheckedSize], reach: float) -> float | None:
    """The largest size at which the planned rate is off by more than noise, and at a cost."""
    bounds = [(reach, AT_REACH), *((each.num_params, AT_SIZES) for each in sizes)]
    wrong = [num_params for num_params, bound in bounds if bound.is_passed(offsets, num_params)]
    return max(wrong, default=None)


def _most_lost(offsets: Offsets, num_params: float) -> float:
    """Log loss that the planned rate costs at a size, with a standard deviation more."""
    mean, deviation = offsets.lost(num_params)
    return mean + deviation


def _sizes_of(runs: Sequence[Run]) -> tuple[CheckedSize, ...]:
    """The sizes with runs at three rates or more, the smallest first."""
    groups: dict[Hashable, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.num_params, run.spec.num_tokens)):
        if run.spec.checked_batch is None and shows_a_loss(run):
            groups.setdefault(_alike(run.spec), []).append(run)
    return tuple(
        checked_size(group, [rate_over_planned(run.spec) for run in group])
        for group in groups.values()
        if len({run.spec.lr for run in group}) >= FEWEST_RATES
    )


def shows_a_loss(run: Run) -> bool:
    """Whether a run of a check has a loss that can be compared, or diverged."""
    is_usable = run.status == "diverged" or run.loss > 0
    return bool(run.spec.lr and run.spec.checked_lr) and is_usable


def rate_over_planned(spec: RunSpec) -> float:
    """The learning rate of a run of a check over the planned one."""
    return (spec.lr or math.nan) / (spec.checked_lr or math.nan)


def _alike(spec: RunSpec) -> Hashable:
    """What runs have in common whose losses show the effect of their rates alone."""
    planned = (spec.num_params, spec.num_tokens, spec.checked_lr)
    return *planned, spec.batch, spec.warmup, spec.beta2, *constants_of(spec)


def _gain(size: CheckedSize) -> str:
    factor, share = size.gain
    what = "doubling" if factor > 1 else "halving"
    return f"{what} the rate lowers the loss at size {size.size} by {format_percent(share)}"
