"""Simulated: runs whose losses come from a known law with seeded noise; for tests and for planning by simulation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from isoflop.runs import Run, RunSpec

__all__ = ["Simulated"]


@dataclass(frozen=True)
class Simulated:
    """An executor that trains nothing: a run's loss is loss(N, D) of a law times exp(noise z), z normal by seed and id.

    noise: relative standard deviation of the final loss; .0015 to .0045 on public runs.
    factor: what a spec's other settings (learning rate, batch) multiply its loss by; infinite where a run diverges.
    """

    loss: Callable[[float, float], float]
    noise: float = 0.0
    seed: int = 0
    factor: Callable[[RunSpec], float] | None = None

    def map(self, work: Callable[[RunSpec], Run], specs: list[RunSpec]) -> Iterator[Run]:
        return (self.run(spec) for spec in specs)

    def run(self, spec: RunSpec) -> Run:
        """The run of one spec; the same for the same spec and seed."""
        draw = np.random.default_rng([self.seed, int(spec.id, 16)]).normal()
        loss = float(self.loss(spec.num_params, spec.num_tokens)) * float(np.exp(self.noise * draw))
        if self.factor is not None:
            loss *= float(self.factor(spec))
        return Run(
            spec=spec,
            status="completed" if np.isfinite(loss) else "diverged",
            loss=loss,
            loss_stderr=self.noise * loss,
            num_tokens=spec.num_tokens,
            flops=spec.flops,
            seconds=0.0,
            device="simulated",
        )
