"""How far a training curve deviates from its sweep's common shape, after normalisation.

Curves of well-trained runs, divided by their final loss and drawn over the share of their tokens,
fall on one shape that moves smoothly with size and tokens (Qiu et al. 2025, 2507.02119). The curve
of a run that was mistuned, or went wrong at its end, does not. The scatter of curves about that
shape is estimated from all of them, and from seeds of one run where there are several. N params,
D tokens, n runs.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtri, stdtrit

from isoflop.fitting.robust import robust_deviation
from isoflop.laws.base import Array
from isoflop.runs import Run

__all__ = ["curve_distance", "loss_distance"]

EDGES = np.linspace(0.1, 1.0, 10)
"""Shares of a run's tokens between which its curve is averaged; the first tenth is warm-up."""
CONTRASTS = np.linalg.qr(np.vander(np.arange(len(EDGES) - 1.0), 3, increasing=True))[0].T
"""Level, slope and curvature of a shape."""
FEWEST_POINTS = 20
"""Fewest points of a curve; with fewer, a tenth of a run may hold none."""
FEWEST_RUNS, ENOUGH_FOR_SQUARES = 8, 14
"""Fewest runs for shapes that are linear, and quadratic, in log size and log tokens."""
LEAST_DEVIATION = 0.003
"""Smallest noise of a shape, in log loss, however small the scatter is."""
NUM_ROUNDS = 20
TUNING = 4.685
"""Tukey's biweight at 95 % efficiency."""
RARE = 2.5e-5
"""Tail probability at which standard deviations from few runs are converted to Gaussian ones."""


def loss_distance(runs: Sequence[Run]) -> Array:
    """How far each loss lies above the surface of the others in robust standard deviations.

    Negative below it, and 0 if unknown. The surface is one in log size and log tokens through the
    log losses of runs with a curve, of each kind as for `curve_distance`; shape (n,).
    """
    return _by_kind(runs, _losses_apart)


def curve_distance(runs: Sequence[Run]) -> Array:
    """Distance of each curve from the common shape in robust standard deviations; 0 if unknown.

    The largest over level, slope and curvature of the shape; shape (n,). Runs with another task,
    schedule or number of passes over a part of the data are compared with their own kind. Few runs
    determine their scatter poorly, so that a distance is reduced as much as Student's t has wider
    tails than a Gaussian.
    """
    return _by_kind(runs, _distances)


def _by_kind(runs: Sequence[Run], measure: Callable[[Sequence[Run]], Array]) -> Array:
    """A measure of the runs with a curve, of each kind that has enough of them; 0 elsewhere."""
    distance = np.zeros(len(runs))
    kinds = [
        (run.spec.fingerprint, run.spec.schedule, run.spec.cooldown, _passes(run)) for run in runs
    ]
    for kind in set(kinds):
        rows = [k for k, run in enumerate(runs) if kinds[k] == kind and _has_shape(run)]
        if len(rows) >= FEWEST_RUNS:
            distance[rows] = measure([runs[k] for k in rows])
    return distance


def _has_shape(run: Run) -> bool:
    return len(run.curve) >= FEWEST_POINTS and all(0 < loss < math.inf for _, loss in run.curve)


def _distances(runs: Sequence[Run]) -> Array:
    shapes, variances = np.stack([_shape(run) for run in runs], axis=2)
    design = _design(runs)
    cells = _cells(runs)
    apart = np.stack([_apart(design, c @ shapes, c**2 @ variances, cells) for c in CONTRASTS])
    return np.asarray(np.abs(apart).max(axis=0)) / _tails(len(runs) - design.shape[1])


def _losses_apart(runs: Sequence[Run]) -> Array:
    losses = np.array([run.loss for run in runs])
    variances = (np.array([run.loss_stderr or 0.0 for run in runs]) / losses) ** 2
    design = _design(runs)
    apart = _apart(design, np.log(losses), variances, _cells(runs))
    return apart / _tails(len(runs) - design.shape[1])


def _cells(runs: Sequence[Run]) -> list[str]:
    """A key of each run that its other seeds share."""
    return [replace(run.spec, seed=0).id for run in runs]


def _tails(free: int) -> float:
    """Standard deviations that are as rare with so many degrees of freedom as one of a Gaussian."""
    return float(stdtrit(free, RARE) / ndtri(RARE))


def _shape(run: Run) -> tuple[Array, Array]:
    """Log of the loss over the final one in each share of the run, and its variance by scatter."""
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

    cells: key of each run that its other seeds share.
    """
    weights = 1 / (LEAST_DEVIATION**2 + variance)
    robust = np.ones(len(y))
    for _ in range(NUM_ROUNDS):
        scaled = design * np.sqrt(weights * robust)[:, None]
        inverse = np.linalg.pinv(scaled.T @ scaled)
        beta = inverse @ (design.T @ (weights * robust * y))
        leverage = weights * np.einsum("ni,ij,nj->n", design, inverse, design)
        # The fit takes up a part of the residual of a run with weight 1; that of a run with weight
        # 0 has the variance of the others' fit on top of its own.
        share = 1 + leverage * (1 - 2 * robust)
        standard = (y - design @ beta) * np.sqrt(weights) / np.sqrt(np.maximum(share, 0.05))
        spread = max(robust_deviation(standard), 1.0)
        robust = np.clip(1 - (standard / (TUNING * spread)) ** 2, 0, 1) ** 2
    return np.asarray(standard / np.maximum(spread, _of_seeds(y, np.sqrt(weights), cells)))


def _of_seeds(y: Array, scale: Array, cells: Sequence[Hashable]) -> Array:
    """Standard deviation between the seeds of all cells, for each run without the run itself."""
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
