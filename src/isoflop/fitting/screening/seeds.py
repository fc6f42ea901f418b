"""Runs that differ in their seed alone, and the noise of the loss between them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from isoflop.runs import Run

__all__ = ["USUAL", "are_seeds", "seed_noise"]

USUAL = 0.0045
"""Largest noise of public sweeps, as a share of the loss; the least is .0015."""


def are_seeds(runs: Sequence[Run]) -> bool:
    """True if all replicates among some runs are other seeds of one spec."""
    if len({run.spec.seed for run in runs}) < 2:
        return False
    return len({(_cell(run), run.spec.seed) for run in runs}) == len(runs)


def seed_noise(runs: Iterable[Run]) -> float | None:
    """Standard deviation of log loss between seeds, pooled over the cells with several seeds.

    None without such cells.
    """
    cells: dict[str, dict[int, float]] = {}
    for run in runs:
        cells.setdefault(_cell(run), {})[run.spec.seed] = math.log(run.loss)
    repeated = [np.array(list(cell.values())) for cell in cells.values() if len(cell) > 1]
    if not repeated:
        return None
    squares = sum(float(np.sum((losses - losses.mean()) ** 2)) for losses in repeated)
    return math.sqrt(squares / sum(len(losses) - 1 for losses in repeated))


def _cell(run: Run) -> str:
    return replace(run.spec, seed=0).id
