"""Simulated: runs whose losses follow a known law with seeded noise; for tests and simulation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from isoflop.runs import Run, RunSpec

__all__ = ["Simulated"]


@dataclass(frozen=True)
class Simulated:
    """An executor that trains nothing and takes losses from a law.

    A run's loss is loss(N, D) times exp(noise z), where z is standard normal, drawn by seed and
    run id.

    noise: relative standard deviation of the final loss; .0015 to .0045 on public runs.
    factor: the effect of a spec's other settings (learning rate, batch), by which its loss is
        multiplied; infinite for a run that diverges.
    """

    loss: Callable[[float, float], float]
    noise: float = 0.0
    seed: int = 0
    factor: Callable[[RunSpec], float] | None = None

    def map(self, work: object, specs: list[RunSpec]) -> Iterator[Run]:
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
