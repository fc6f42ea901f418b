"""SigmoidLaw: a metric such as accuracy as a sigmoid of the held-out loss.

It is fitted for many weightings at once. L loss, s share of the way from the metric at high loss to
that at low loss. Shapes: R weightings, G pairs of (log steepness, middle), n runs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array, Number, plain

__all__ = ["Box", "SigmoidLaw", "fit_sigmoid"]

STEEP = (0.5, 60.0)
"""Limits of steepness times the range of the losses: nearly a line, and nearly a step."""
BEYOND = (2.0, 1.0)
"""Limits of the middle below and above the losses, as multiples of their range."""
COARSE, FINE, ZOOMS = 33, 7, 12
"""Steps of the first grid and of the narrowed ones on either axis, and the number of halvings: to
2e-5 of the range."""
ROWS = 200
"""Weightings at a time, so that their grids stay in the cache."""
Box = tuple[tuple[float, float], tuple[float, float]]
"""Limits of the metric at high loss, and at low loss."""


@dataclass(frozen=True)
class SigmoidLaw:
    """worst + (best - worst) / (1 + exp(k (L - middle))).

    This is the second of two steps in Bhagia et al. 2024 (2412.04403).
    """

    worst: Number
    """Metric at high loss: chance."""
    best: Number
    """Metric at low loss."""
    steepness: Number
    """k, per unit of loss."""
    middle: Number
    """Loss at which the metric is half-way between the two."""

    def metric(self, L: Number) -> Number:
        """The metric at a loss."""
        share = _share(np.asarray(L, dtype=float), self.steepness, self.middle)
        return plain(self.worst + (self.best - self.worst) * share)


def fit_sigmoid(losses: Array, metrics: Array, weights: Array, box: Box) -> SigmoidLaw:
    """Least-squares sigmoids for each row of weights, (R, n), as a law of arrays of shape (R,).

    Steepness and middle come from a grid that is narrowed around its best point. The two ends are
    linear, within their box.
    """
    parts = [
        _fitted(losses, metrics, weights[k : k + ROWS], box) for k in range(0, len(weights), ROWS)
    ]
    worst, best, log_steepness, middle = np.concatenate(parts).T
    return SigmoidLaw(worst, best, np.exp(log_steepness), middle)


def _fitted(losses: Array, metrics: Array, weights: Array, box: Box) -> Array:
    """(worst, best, log steepness, middle) for each row of weights."""
    span = float(np.ptp(losses))
    low = np.array([math.log(STEEP[0] / span), losses.min() - BEYOND[0] * span])
    high = np.array([math.log(STEEP[1] / span), losses.max() + BEYOND[1] * span])
    nodes = (low + high) / 2 + (high - low) / 2 * _grid(COARSE)
    halves = (high - low) / 2 * 3 / (COARSE - 1)
    rows = np.arange(len(weights))
    ends, errors = _ends(losses, metrics, weights, nodes, box)
    number = np.argmin(errors, axis=1)
    centres, chosen = nodes[number], ends[rows, number]
    for _ in range(ZOOMS):
        around = np.clip(centres[:, None] + halves * _grid(FINE), low, high)  # shape (R, G, 2)
        ends, errors = _ends(losses, metrics, weights, around, box)
        number = np.argmin(errors, axis=1)
        centres, chosen = around[rows, number], ends[rows, number]
        halves = halves / 2
    return np.concatenate([chosen, centres], axis=1)


def _grid(steps: int) -> Array:
    """Nodes of a square from -1 to 1, shape (G, 2)."""
    side = np.linspace(-1, 1, steps)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _share(L: Array, steepness: Number, middle: Number) -> Array:
    return np.asarray(0.5 - 0.5 * np.tanh(steepness * (L - middle) / 2))


def _ends(
    losses: Array, metrics: Array, weights: Array, nodes: Array, box: Box
) -> tuple[Array, Array]:
    """Least-squares ends (worst, best) within their box, (R, G, 2), and sums of squares, (R, G).

    nodes: log steepness and middle, shape (G, 2) for all rows of weights, or (R, G, 2).
    """
    share = _share(losses, np.exp(nodes[..., :1]), nodes[..., 1:])  # (G, n) or (R, G, n)
    rest = 1 - share

    def total(values: Array) -> Array:
        return np.asarray(
            weights @ values.T if values.ndim == 2 else np.einsum("rn,rgn->rg", weights, values)
        )

    a, b, c, p, q = map(
        total, (rest * rest, rest * share, share * share, rest * metrics, share * metrics)
    )
    ends, errors = np.zeros((*a.shape, 2)), np.full(a.shape, np.inf)
    for worst, best in _candidates(a, b, c, p, q, box):
        inside = _within(worst, box[0]) & _within(best, box[1])
        squares = worst**2 * a + 2 * worst * best * b + best**2 * c - 2 * (worst * p + best * q)
        better = inside & (squares < errors)
        errors = np.where(better, squares, errors)
        ends = np.where(better[..., None], np.stack([worst, best], axis=-1), ends)
    return ends, errors


def _candidates(
    a: Array, b: Array, c: Array, p: Array, q: Array, box: Box
) -> list[tuple[Array, Array]]:
    """Candidates for the least squares: free, or on one of the four sides of the box."""
    tiny = 1e-12 * (a + c)
    det = a * c - b * b
    safe = np.where(det > tiny * (a + c), det, np.inf)
    candidates = [((c * p - b * q) / safe, (a * q - b * p) / safe)]
    for side in {side for side in box[0] if np.isfinite(side)}:
        best = np.clip((q - side * b) / np.maximum(c, tiny), *box[1])
        candidates.append((np.full(a.shape, side), best))
    for side in {side for side in box[1] if np.isfinite(side)}:
        worst = np.clip((p - side * b) / np.maximum(a, tiny), *box[0])
        candidates.append((worst, np.full(a.shape, side)))
    return candidates


def _within(value: Array, ends: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((ends[0] <= value) & (value <= ends[1]))
