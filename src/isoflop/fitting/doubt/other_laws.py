"""OtherLaws: a law, and those that the same runs would give with other losses."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from isoflop.display.format import format_flops, format_replacement
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.laws.base import CostPerToken, Law
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["OtherLaws", "other_laws"]


class Finding(Protocol):
    """What a check shows."""

    @property
    def note(self) -> Note: ...


@dataclass(frozen=True, eq=False)
class OtherLaws(ABC):
    """The law of a fit, the others that are as possible by what a check shows, and the finding.

    The last of the others is the one that notes compare with.
    """

    law: Law
    others: tuple[Law, ...]
    finding: Finding

    @property
    def found(self) -> tuple[Note, ...]:
        """The finding, where `note` is about its effect."""
        return (self.finding.note,) if self.others else ()

    def note(self, flops: float) -> Note:
        """What the finding does to the answer at `flops`."""
        if not self.others:
            return self.finding.note
        now, then = (float(law.optimum(flops)[0]) for law in (self.law, self.others[-1]))
        size = f"the best size at {format_flops(flops)} FLOPs"
        return self._effect(f"{size} would be {format_replacement(then, now)}")

    @abstractmethod
    def _effect(self, answer: str) -> Note:
        """The note on the other answer, which is in words."""

    def spread(self, flops: float, cost: CostPerToken | None) -> float:
        """Standard deviation of the log of the best params that the others add."""
        own, *others = (float(law.optimum(flops, cost)[0]) for law in (self.law, *self.others))
        if not 0 < own < math.inf:
            return 0.0
        return max((abs(math.log(N / own)) for N in others if 0 < N < math.inf), default=0.0)


def other_laws(variants: Iterable[Points], approach: Approach) -> tuple[Law, ...]:
    """The laws of variants of the points, of those that have one."""
    found: list[Law] = []
    for points in variants:
        try:
            found.append(approach.solve(points).law)
        except DataError:
            continue
    return tuple(found)
