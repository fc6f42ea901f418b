"""OtherLaws: a law, and those that the same runs would give with other losses."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.laws.base import CostPerToken, Law
from isoflop.laws.points import Points

__all__ = ["OtherLaws", "other_laws"]


@dataclass(frozen=True, eq=False)
class OtherLaws:
    """The law of a fit, and the others that are as possible."""

    law: Law
    others: tuple[Law, ...]

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
