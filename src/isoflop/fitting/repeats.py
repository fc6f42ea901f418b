"""Noise of a run's loss, from runs that differ in their seed alone."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from isoflop.runs import Run

__all__ = ["USUAL", "seed_noise"]

USUAL = 0.0045
"""Largest noise of public sweeps, as a share of the loss; the least is .0015."""


def seed_noise(runs: Iterable[Run]) -> float | None:
    """Standard deviation of log loss between seeds, pooled over the cells that have several; None where none has."""
    cells: dict[str, dict[int, float]] = {}
    for run in runs:
        cells.setdefault(replace(run.spec, seed=0).id, {})[run.spec.seed] = math.log(run.loss)
    repeated = [np.array(list(cell.values())) for cell in cells.values() if len(cell) > 1]
    if not repeated:
        return None
    squares = sum(float(np.sum((losses - losses.mean()) ** 2)) for losses in repeated)
    return math.sqrt(squares / sum(len(losses) - 1 for losses in repeated))
