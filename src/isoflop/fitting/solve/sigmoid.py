"""A sigmoid in the loss: what a metric such as accuracy is at each held-out loss, fitted for many weightings at once.

L loss, s share of the way from the metric at high loss to that at low loss. Shapes: R weightings, G places of (k, L0),
n runs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoflop.laws.base import Array, Number, plain

__all__ = ["Box", "SigmoidLaw", "fit_sigmoid"]

STEEP = (0.5, 60.0)
"""Steepness times the range of the losses that is looked at: nearly a line, and nearly a step."""
BEYOND = (2.0, 1.0)
"""Ranges of the losses below and above the runs within which the middle is looked for."""
COARSE, FINE, ZOOMS = 33, 7, 12
"""Steps of the grid on either axis, first and when it is narrowed, and how often it is halved: to 2e-5 of the range."""
ROWS = 200
"""Weightings at a time, so that their grids stay in the cache."""
Box = tuple[tuple[float, float], tuple[float, float]]
"""Least and most that the metric may be at high loss, and at low loss."""


@dataclass(frozen=True)
class SigmoidLaw:
    """worst + (best - worst) / (1 + exp(k (L - middle))): Bhagia et al. 2024 (2412.04403), the second of two steps."""

    worst: Number
    """Of the metric, where the loss is high: chance."""
    best: Number
    """Where the loss is low."""
    steepness: Number
    """k, per unit of loss."""
    middle: Number
    """Loss half-way between the two."""

    def metric(self, L: Number) -> Number:
        """The metric at a loss."""
        share = _share(np.asarray(L, dtype=float), self.steepness, self.middle)
        return plain(self.worst + (self.best - self.worst) * share)


def fit_sigmoid(losses: Array, metrics: Array, weights: Array, box: Box) -> SigmoidLaw:
    """The sigmoid of least squares for each row of weights, shape (R, n), as a law of arrays of shape (R,).

    Steepness and middle by a grid that is narrowed around its best place; the two ends are linear, within their box.
    """
    parts = [
        _fitted(losses, metrics, weights[k : k + ROWS], box) for k in range(0, len(weights), ROWS)
    ]
    found = np.concatenate(parts)
    return SigmoidLaw(found[:, 0], found[:, 1], np.exp(found[:, 2]), found[:, 3])


def _fitted(losses: Array, metrics: Array, weights: Array, box: Box) -> Array:
    """(worst, best, log steepness, middle) for each row of weights."""
    span = float(np.ptp(losses))
    low = np.array([math.log(STEEP[0] / span), losses.min() - BEYOND[0] * span])
    high = np.array([math.log(STEEP[1] / span), losses.max() + BEYOND[1] * span])
    places, halves = (
        (low + high) / 2 + (high - low) / 2 * _grid(COARSE),
        (high - low) / 2 * 3 / (COARSE - 1),
    )
    rows = np.arange(len(weights))
    ends, errors = _ends(losses, metrics, weights, places, box)
    number = np.argmin(errors, axis=1)
    centres, chosen = places[number], ends[rows, number]
    for _ in range(ZOOMS):
        around = np.clip(centres[:, None] + halves * _grid(FINE), low, high)  # shape (R, G, 2)
        ends, errors = _ends(losses, metrics, weights, around, box)
        number = np.argmin(errors, axis=1)
        centres, chosen = around[rows, number], ends[rows, number]
        halves = halves / 2
    return np.concatenate([chosen, centres], axis=1)


def _grid(steps: int) -> Array:
    """Places of a square from -1 to 1, shape (G, 2)."""
    side = np.linspace(-1, 1, steps)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _share(L: Array, steepness: Number, middle: Number) -> Array:
    return np.asarray(0.5 - 0.5 * np.tanh(steepness * (L - middle) / 2))


def _ends(
    losses: Array, metrics: Array, weights: Array, places: Array, box: Box
) -> tuple[Array, Array]:
    """Ends (worst, best) of least squares within their box at each place, shape (R, G, 2), and the squares, (R, G).

    places: log steepness and middle, shape (G, 2) for all rows of weights, or (R, G, 2).
    """
    share = _share(losses, np.exp(places[..., :1]), places[..., 1:])  # (G, n) or (R, G, n)
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
    """Where the squares may be least: free, or on one of the four sides of the box."""
    tiny = 1e-12 * (a + c)
    det = a * c - b * b
    safe = np.where(det > tiny * (a + c), det, np.inf)
    found = [((c * p - b * q) / safe, (a * q - b * p) / safe)]
    for side in {side for side in box[0] if np.isfinite(side)}:
        found.append(
            (np.full(a.shape, side), np.clip((q - side * b) / np.maximum(c, tiny), *box[1]))
        )
    for side in {side for side in box[1] if np.isfinite(side)}:
        found.append(
            (np.clip((p - side * b) / np.maximum(a, tiny), *box[0]), np.full(a.shape, side))
        )
    return found


def _within(value: Array, ends: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((ends[0] <= value) & (value <= ends[1]))
