"""What the check of a sweep's batches shows, in words and as a verdict.

x: log of the batch over the square root of the tokens; y: log loss. The best batch is taken to
follow the tokens and hardly the params, as in Zhang et al. 2024 (2410.21676) and Li et al. 2025
(2503.04715), so that the offset of x from its best value is the same for all runs.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isoflop.display.format import format_count, format_number, format_percent, join_words
from isoflop.fitting.cell_offset import SettingPrior
from isoflop.fitting.checked_rates import (
    Verdict,
    constants_of,
    costliest,
    rate_over_planned,
    shows_a_loss,
)
from isoflop.fitting.checked_sizes import Bound, CheckedSize, checked_size, named, offsets_at
from isoflop.fitting.setting_offsets import Offsets
from isoflop.fitting.setting_rule import USUAL_NOISE
from isoflop.notes.note import Note
from isoflop.runs import Run, RunSpec

__all__ = ["BatchFinding", "find_batches"]

OF_BATCHES = SettingPrior(curvature=0.013, spread=0.9, slope=0.1)
"""Along batches whose learning rates go with their square root: c has a median of .0127 and a log
standard deviation of .26 in the 42 cells of Step Law (2503.04715), .004 to .08 in models of 1e3 to
5e3 params."""
EXPONENT_DEVIATION = 0.2
"""Standard deviation of the exponent of the tokens in the best batch, about a half: it is .57 in
Li et al. 2025, .47 in Zhang et al. 2024, .33 of the FLOPs, so about .65 of the tokens, in Bi et
al. 2024 (2401.02954), and about .7 between runs on 3e4 and 4e5 bytes
(`benchmarks/training/batch_check.py`)."""
AT_REACH = Bound(sure=0.95, material=0.01)
"""Less is no harm, since a smaller batch takes longer to train."""
AT_SIZES = Bound(sure=0.97, material=0.02)
OPEN = 0.02
"""Share of the loss that the batches may cost, to a standard deviation, before a check counts as
open."""
SAME_LENGTH = 0.03
"""Log ratio of the tokens of two runs that count as equally long: batches are whole."""
REMEDY = "isoflop.tune(batch=True) finds the rule"


@dataclass(frozen=True)
class UsedBatch:
    """A batch in examples, with the params and tokens of the run that uses it."""

    num_params: float
    num_tokens: float
    batch: float

    @property
    def x(self) -> float:
        """Log of the batch over the square root of the tokens, but for a constant."""
        return math.log(self.batch) - math.log(self.num_tokens) / 2


@dataclass(frozen=True, eq=False)
class BatchFinding:
    """What a check shows of the planned batches.

    verdict: whether their rule holds, is wrong, or the check is open.
    sizes, batches: what was checked.
    offsets: how far x is from its best value at the reach.
    reach: the middle of the runs that cost most, for which the verdict is, too.
    wrong_at: the batch with the most tokens of those that are surely wrong; None for none.
    """

    verdict: Verdict
    sizes: tuple[CheckedSize, ...]
    batches: tuple[UsedBatch, ...]
    offsets: Offsets
    reach: UsedBatch
    wrong_at: UsedBatch | None = None

    def offsets_at(self, used: UsedBatch) -> Offsets:
        """How far a batch is from the best one, to a doubt that grows with the change of tokens."""
        checked = float(np.mean([math.log(each.num_tokens) for each in self.batches]))
        doubt = EXPONENT_DEVIATION * abs(math.log(used.num_tokens) - checked)
        return self.offsets.moved(used.x - self.reach.x, doubt)

    def mean_lost(self, spec: RunSpec) -> float:
        """Mean of the log loss that the batch of a run costs, 0 where that is not known."""
        if spec.batch is None:
            return 0.0
        used = UsedBatch(spec.num_params, spec.num_tokens, float(spec.batch))
        return self.offsets_at(used).mean_lost(used.num_params)

    @cached_property
    def lost(self) -> tuple[float, float]:
        """Mean and standard deviation of the log loss that the batches cost at the reach."""
        return self.offsets_at(self.reach).lost(self.reach.num_params)

    @property
    def note(self) -> Note:
        """The finding in words."""
        words = {"holds": self._holds, "wrong": self._wrong, "open": self._open}
        return Note(f"batches-{self.verdict}", words[self.verdict]())

    def _holds(self) -> str:
        if not _tries_smaller(self.sizes):
            return (
                f"The rule of the batch holds as far as can be told: twice as large a batch is not "
                f"clearly better at {named(self.sizes)}, and half of it is fewer examples than the "
                f"recipe allows."
            )
        return f"The rule of the batch holds at {named(self.sizes)}; {self._cost()}."

    def _open(self) -> str:
        return (
            f"The check of the batches is open: half and twice the planned batch at "
            f"{named(self.sizes)} do not tell whether it is right; {self._cost()}."
        )

    def _cost(self) -> str:
        where = f"on {format_count(self.reach.num_tokens)} tokens"
        return f"{where} the batch may cost {format_percent(sum(self.lost))} of the loss"

    def _wrong(self) -> str:
        used = self.wrong_at or self.reach
        at = self.offsets_at(used)
        offset, _ = at.offset(used.num_params)
        times = format_number(math.exp(abs(offset)), 2)
        share = format_percent(at.likely_lost(used.num_params))
        but = ", but smaller batches take longer to train" if offset > 0 else ""
        return (
            f"{self._gains()}On {format_count(used.num_tokens)} tokens the planned batch is about "
            f"{times} times too {'large' if offset > 0 else 'small'}, which costs about {share} of "
            f"the loss; {REMEDY}{but}."
        )

    def _gains(self) -> str:
        """What other batches save at the checked sizes."""
        pairs = zip(self.sizes, self.batches, strict=True)
        better = [_gain(size, used.batch) for size, used in pairs if size.gain[1] > 0]
        text = join_words(better)
        return f"{text[0].upper()}{text[1:]}. " if better else ""


def _gain(size: CheckedSize, planned: float) -> str:
    factor, share = size.gain
    return (
        f"a batch of {planned * factor:.0f} in place of {planned:.0f} lowers the loss at size "
        f"{size.size} by {format_percent(share)}"
    )


def find_batches(
    checks: Iterable[Run], specs: Sequence[RunSpec], noise: float | None = None
) -> BatchFinding | None:
    """What the runs of a check show of the batches; None without two sizes that tried others.

    specs: the runs of the law, which the verdict is for.
    noise: standard deviation of log loss between seeds that is to be expected; None for the usual
        one.
    """
    reach = _reach(specs)
    found = [*_checked([*checks])]
    if reach is None or len({size.num_params for size, _ in found}) < 2:
        return None
    sizes, batches = tuple(size for size, _ in found), tuple(used for _, used in found)
    if any(size.diverged for size in sizes):  # which is a matter of the rates
        return None
    shifts = [used.x - reach.x for used in batches]
    offsets = offsets_at(sizes, noise or USUAL_NOISE, OF_BATCHES, shifts)
    finding = BatchFinding("holds", sizes, batches, offsets, reach)
    at_reach = finding.offsets_at(reach)
    if not _tries_smaller(sizes) and at_reach.offset(reach.num_params)[0] > 0:
        return finding  # where the loss begins to rise is not where it is lowest
    if wrong_at := _wrong_at(finding):
        return replace(finding, verdict="wrong", wrong_at=wrong_at)
    return finding if sum(finding.lost) <= OPEN else replace(finding, verdict="open")


def _wrong_at(finding: BatchFinding) -> UsedBatch | None:
    """The batch with the most tokens of those that are off by more than noise, and at a cost."""
    bounds = [(finding.reach, AT_REACH), *((used, AT_SIZES) for used in finding.batches)]
    wrong = [
        used for used, bound in bounds if bound.is_passed(finding.offsets_at(used), used.num_params)
    ]
    return max(wrong, key=lambda used: used.num_tokens, default=None)


def _reach(specs: Sequence[RunSpec]) -> UsedBatch | None:
    """The middle of the runs that cost most; None where their batches are not known."""
    costly = costliest(specs)
    if any(spec.batch is None for spec in costly):
        return None
    rows = np.log([(spec.num_params, spec.num_tokens, spec.batch or 1) for spec in costly])
    return UsedBatch(*np.exp(np.median(rows, axis=0)).tolist())


def _tries_smaller(sizes: Sequence[CheckedSize]) -> bool:
    """Whether a smaller batch than planned was tried."""
    return any((size.u < 0).any() for size in sizes)


def _checked(runs: Sequence[Run]) -> Iterator[tuple[CheckedSize, UsedBatch]]:
    """The sizes whose planned batch has others beside it, the smallest first."""
    usable = sorted(filter(shows_a_loss, runs), key=lambda run: run.num_params)
    planned = [run for run in usable if _is_planned(run.spec)]
    others = [run for run in usable if run.spec.checked_batch is not None]
    cells: dict[Hashable, list[Run]] = {}
    for run in planned:
        cells.setdefault(_cell(run.spec), []).append(run)
    for own in cells.values():
        first = own[0]
        beside = [run for run in others if _is_beside(run.spec, first.spec)]
        batch = float(first.spec.batch or math.nan)
        seeds = {run.spec.seed for run in beside}
        group = [*(run for run in own if run.spec.seed in seeds), *beside]
        if beside and len(group) > len(beside):
            over = [(run.spec.batch or math.nan) / batch for run in group]
            used = UsedBatch(first.num_params, first.spec.num_tokens, batch)
            yield checked_size(group, over), used


def _is_planned(spec: RunSpec) -> bool:
    """Whether a run of a check is as planned."""
    at_rate = math.isclose(rate_over_planned(spec), 1, rel_tol=1e-6)
    return at_rate and spec.checked_batch is None and spec.batch is not None


def _cell(spec: RunSpec) -> tuple[object, ...]:
    planned = (spec.num_params, spec.num_tokens, spec.checked_lr, spec.batch)
    return *planned, *constants_of(spec)


def _is_beside(spec: RunSpec, planned: RunSpec) -> bool:
    """Whether a run differs from a planned one in its batch, and what follows from that, alone."""
    as_planned = (spec.num_params, planned.num_tokens, spec.checked_lr, spec.checked_batch)
    is_as_long = abs(math.log(spec.num_tokens / planned.num_tokens)) < SAME_LENGTH
    return is_as_long and (*as_planned, *constants_of(spec)) == _cell(planned)
