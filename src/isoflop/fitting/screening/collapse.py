"""How unlike a run's training curve is to the curves of its sweep, once all are brought to one shape.

Curves of well-trained runs, divided by their final loss and drawn over the share of their tokens, fall on one shape
that moves smoothly with size and tokens (Qiu et al. 2025, 2507.02119). A run that was mistuned or spoilt at its end
does not. How far curves scatter about that shape is taken from all of them, and from seeds of one run where there are
any. N params, D tokens, n runs.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtri, stdtrit

from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.runs import Run

__all__ = ["curve_distance"]

EDGES = np.linspace(0.1, 1.0, 10)
"""Shares of a run's tokens between which its curve is averaged; the first tenth is warm-up and start."""
CONTRASTS = np.linalg.qr(np.vander(np.arange(len(EDGES) - 1.0), 3, increasing=True))[0].T
"""Level, slope and curvature of a shape."""
FEWEST_POINTS = 20
"""Of a curve; with fewer a tenth of a run may hold none."""
FEWEST_RUNS, ENOUGH_FOR_SQUARES = 8, 14
"""Shapes depend linearly on log size and log tokens from eight runs on, with squares from fourteen on."""
LEAST_DEVIATION = 0.003
"""Of the log loss; scatter below it is not taken as the noise of a shape."""
NUM_ROUNDS = 20
TUNING = 4.685
"""Tukey's biweight at 95 % efficiency."""
RARE = 2.5e-5
"""Probability at which standard deviations from few runs are put equal to those from many."""


def curve_distance(runs: Sequence[Run]) -> Array:
    """Robust standard deviations by which each curve leaves the common shape, and 0 where that cannot be told.

    The largest over level, slope and curvature of the shape; shape (n,). Runs with another task, schedule
    or number of passes over a part of the data are held against their own kind. Few runs know their own scatter badly,
    so that a distance counts as much less as Student's t has wider tails than a Gaussian.
    """
    distance = np.zeros(len(runs))
    kinds = [
        (run.spec.fingerprint, run.spec.schedule, run.spec.cooldown, _passes(run)) for run in runs
    ]
    for kind in set(kinds):
        rows = [k for k, run in enumerate(runs) if kinds[k] == kind and _has_shape(run)]
        if len(rows) >= FEWEST_RUNS:
            distance[rows] = _distances([runs[k] for k in rows])
    return distance


def _has_shape(run: Run) -> bool:
    return len(run.curve) >= FEWEST_POINTS and all(0 < loss < math.inf for _, loss in run.curve)


def _distances(runs: Sequence[Run]) -> Array:
    shapes, variances = np.stack([_shape(run) for run in runs], axis=2)
    design = _design(runs)
    cells = [replace(run.spec, seed=0).id for run in runs]
    apart = np.stack([_apart(design, c @ shapes, c**2 @ variances, cells) for c in CONTRASTS])
    return np.asarray(np.abs(apart).max(axis=0)) / _tails(len(runs) - design.shape[1])


def _tails(free: int) -> float:
    """Standard deviations that are as rare with so many degrees of freedom as one of a Gaussian."""
    return float(stdtrit(free, RARE) / ndtri(RARE))


def _shape(run: Run) -> tuple[Array, Array]:
    """Log of the loss over the final one in each share of the run, and the variance that its own scatter explains."""
    tokens, losses = np.array(run.curve).T
    share, logs = tokens / run.num_tokens, np.log(losses / run.loss)
    rows = [(share > low) & (share <= high + 1e-9) for low, high in pairwise(EDGES)]
    if not all(row.any() for row in rows):
        middles = (EDGES[:-1] + EDGES[1:]) / 2
        return np.interp(middles, share, logs), np.full(len(middles), _scatter(logs))
    final = ((run.loss_stderr or 0.0) / run.loss) ** 2
    return (
        np.array([logs[row].mean() for row in rows]),
        np.array([_scatter(logs[row]) / row.sum() + final for row in rows]),
    )


def _scatter(logs: Array) -> float:
    """Variance of neighbouring points about their trend, from second differences."""
    if len(logs) < 3:
        return 0.0
    return float(np.mean(np.diff(logs, 2) ** 2) / 6)


def _design(runs: Sequence[Run]) -> Array:
    x, y = np.log([run.num_params for run in runs]), np.log([run.num_tokens for run in runs])
    x, y = x - x.mean(), y - y.mean()
    columns = [np.ones(len(x)), x, y]
    if len(runs) >= ENOUGH_FOR_SQUARES:
        columns += [x**2, x * y, y**2]
    basis, values, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    return np.asarray(basis[:, values > 1e-6 * values[0]])


def _apart(design: Array, y: Array, variance: Array, cells: Sequence[Hashable]) -> Array:
    """Residual of each run from a robust fit of the others, over its standard deviation.

    cells: what each run shares with its other seeds.
    """
    weights = 1 / (LEAST_DEVIATION**2 + variance)
    robust = np.ones(len(y))
    for _ in range(NUM_ROUNDS):
        scaled = design * np.sqrt(weights * robust)[:, None]
        inverse = np.linalg.pinv(scaled.T @ scaled)
        beta = inverse @ (design.T @ (weights * robust * y))
        leverage = np.clip(weights * np.einsum("ni,ij,nj->n", design, inverse, design), 0, 1)
        # A run that the weights have put out stands apart from the others' fit by more variance, not by less.
        share = np.where(robust > 0, 1 - leverage * robust, 1.0)
        standard = (y - design @ beta) * np.sqrt(weights) / np.sqrt(np.maximum(share, 0.05))
        spread = max(robust_deviation(standard), 1.0)
        robust = np.clip(1 - (standard / (TUNING * spread)) ** 2, 0, 1) ** 2
    return np.asarray(standard / np.maximum(spread, _of_seeds(y, np.sqrt(weights), cells)))


def _of_seeds(y: Array, scale: Array, cells: Sequence[Hashable]) -> Array:
    """Standard deviation between seeds that each run is held against: of all cells, the run itself not among them."""
    members: dict[Hashable, list[int]] = {}
    for row, cell in enumerate(cells):
        members.setdefault(cell, []).append(row)
    repeated = [np.array(rows) for rows in members.values() if len(rows) > 1]
    deviation = np.zeros(len(y))
    for row in range(len(y)) if repeated else ():
        others = [rows[rows != row] for rows in repeated]
        free = sum(len(rows) - 1 for rows in others)
        squares = sum(
            float(np.sum(((y[rows] - y[rows].mean()) * scale[rows]) ** 2)) for rows in others
        )
        deviation[row] = math.sqrt(squares / free) if free else 0.0
    return deviation


def _passes(run: Run) -> int:
    """Passes over a part of the data, to a factor of two; 0 where the run saw all of the data."""
    return (
        0 if run.spec.unique_tokens is None else 1 + round(math.log2(max(run.spec.epochs or 1, 1)))
    )
