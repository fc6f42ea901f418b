"""An executor of one's own: one class with `map`."""

from collections.abc import Iterator
from dataclasses import dataclass

from isoflop.runs import Run, RunSpec
from isoflop.training.executors.contract import Work


@dataclass(frozen=True)
class SmallestFirst:
    """Trains runs in this process by rising FLOPs, so that the first losses come soon."""

    def map(self, work: Work, specs: list[RunSpec]) -> Iterator[Run]:
        for spec in sorted(specs, key=lambda spec: spec.flops):
            yield work(spec)
