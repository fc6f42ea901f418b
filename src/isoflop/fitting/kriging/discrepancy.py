"""What a law leaves over: noise, and a smooth discrepancy that grows away from the valley and from the largest runs.

x, y centred logs of N and D; c = x + y log of compute; L loss; R the part of the loss that falls with size and data.
A hypothesis is one covariance of the errors of all runs:

    noise         (m L)^2 on the diagonal, half of it shared by rows of one trained model
    discrepancy   (ratio m R / r)^2 times [exp(-d^2 / 2 length^2) + exp(-(c - c')^2 / 2 LONG^2)]

d distance in the (x, y) plane, r the median of R / L, so that `ratio` is the discrepancy in noise standard deviations
at an ordinary run. The second kernel depends on compute alone: it lets the valley's loss leave the additive law without
moving the valley. m makes a run that is far from the answer count less: see `Weighting`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.kriging.exponents import PRIOR_MIDDLE, PRIOR_WIDTH, restricted_alone
from isoflop.laws.points import Array, Points

__all__ = ["Covariances", "Hypothesis", "Plane", "Weighting", "covariances", "hypotheses", "pilot"]

SAME_COMPUTE = 0.1
"""Log FLOPs up to which a run may be held to another's loss."""
ALLOWANCE = 0.03
"""Own excess that noise may explain. Where a run's own noise sets its weight, the likelihood prefers the weights that
excuse the noise: with 225 runs and 1 % noise the error of N 10x beyond is .16 with an allowance of .015, .05 with .03
(.04 by least squares under the true law)."""
FAR_LOSS = 0.09
"""Excess log loss at which a run counts half. Without it, 9 of 10 held-out errors of N are below .38 (next budget), 1.2
(10x) instead of .16 and .27: small models trained on few tokens are in another regime in most public sweeps."""
LONG = 2.0
LONG_RATIO = 0.7
"""Size of the second kernel next to the first. The answer hardly depends on it: median held-out errors of N are .047
to .057 (next budget) and .073 to .081 (3x) from 0 to 1.5."""
SHARED = 0.5
OFF_RECORD = 1e3
"""Noise of a run that is put on record only, in times its ordinary noise."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Runs in centred logs, with how far each lies above the best loss at its compute."""

    x: Array
    y: Array
    loss: Array
    middle: tuple[float, float]
    """Log N and log D of the centre."""
    group: NDArray[np.intp]
    """Number of the trained model that a row belongs to; a number of its own where it has none."""
    spoilt: NDArray[np.bool_]

    @classmethod
    def of(cls, points: Points, spoilt: NDArray[np.bool_] | None = None) -> "Plane":
        x, y = np.log(points.N), np.log(points.D)
        group = _groups(points)
        none = np.zeros(len(points), dtype=bool)
        middle = (float(x.mean()), float(y.mean()))
        return cls(
            x - middle[0],
            y - middle[1],
            points.L,
            middle,
            group,
            none if spoilt is None else spoilt,
        )

    @cached_property
    def c(self) -> Array:
        return np.asarray(self.x + self.y)

    @cached_property
    def own_excess(self) -> Array:
        """Log loss above the lowest loss that no more compute has reached, shape (n,)."""
        order = np.argsort(self.c)
        trusted = np.where(self.spoilt, np.inf, self.loss)[order]
        last = np.searchsorted(self.c[order], self.c + SAME_COMPUTE, side="right") - 1
        best = np.minimum.accumulate(trusted)[last]
        return np.where(np.isfinite(best), np.maximum(np.log(self.loss / best), 0), 0)

    @cached_property
    def excess(self) -> Array:
        """Log loss above the best at the same compute by a first law; a run's own excess where that is far larger."""
        law = pilot(self, NEAR.multiplier(self, self.own_excess))
        return np.asarray(np.maximum(law.excess(self), self.own_excess - ALLOWANCE))


def _groups(points: Points) -> NDArray[np.intp]:
    if not any(run.group for run in points.runs):
        return np.arange(len(points))
    names = [run.group or number for number, run in enumerate(points.runs)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.intp)


@dataclass(frozen=True)
class Weighting:
    """How much less a run counts for its excess loss and for being smaller than the largest run.

    m = (1 + (excess / FAR_LOSS)^2) sqrt(1 + (excess / `excess`)^2) sqrt(1 + ((c_max - c) / `compute`)^2).
    """

    excess: float = np.inf
    compute: float = np.inf

    def multiplier(self, plane: Plane, excess: Array | None = None) -> Array:
        """Of the noise and the discrepancy of each run; excess: the plane's unless given."""
        above = plane.excess if excess is None else excess
        below = (plane.c.max() - plane.c) / self.compute
        near = np.sqrt((1 + (above / self.excess) ** 2) * (1 + below**2))
        return np.asarray(np.minimum((1 + (above / FAR_LOSS) ** 2) * near, OFF_RECORD))


EVEN, NEAR = Weighting(), Weighting(excess=0.03, compute=3.0)


@dataclass(frozen=True)
class Hypothesis:
    """One covariance; ratio 0 says that the law is right everywhere."""

    weighting: Weighting
    length: float = 1.0
    ratio: float = 0.0


@dataclass(frozen=True, eq=False)
class Covariances:
    """The hypotheses of a set of runs, ready for whitening."""

    hypotheses: tuple[Hypothesis, ...]
    scale: Array
    """m R / r of each run, shape (K, n)."""
    whiteners: Array
    """Inverse Cholesky factors, shape (K, n, n)."""
    log_prior: Array
    """Of each hypothesis, minus half its log determinant."""
    reducible: float
    """r: median of R / L."""


def hypotheses(lengths: tuple[float, ...], ratios: tuple[float, ...]) -> tuple[Hypothesis, ...]:
    """The law alone, and a discrepancy of every length and ratio under both weightings."""
    smooth = [
        Hypothesis(w, length, ratio) for w in (EVEN, NEAR) for length in lengths for ratio in ratios
    ]
    return (Hypothesis(EVEN), *smooth)


def covariances(plane: Plane, chosen: tuple[Hypothesis, ...]) -> Covariances:
    """Covariance, whitener and prior of some hypotheses; the law alone weighs as much as all ratios of one weighting
    divided by their number.
    """
    R = pilot(plane, NEAR.multiplier(plane)).reducible(plane)
    reducible = float(np.median(R / plane.loss))
    noise, scale = np.empty((2, len(chosen), len(plane.loss)))
    matrices = np.empty((len(chosen), len(plane.loss), len(plane.loss)))
    for row, guess in enumerate(chosen):
        multiplier = guess.weighting.multiplier(plane)
        noise[row] = multiplier * plane.loss * np.where(plane.spoilt, OFF_RECORD, 1)
        scale[row] = multiplier * R / reducible
        matrices[row] = noise_matrix(plane, noise[row]) + np.outer(scale[row], scale[row]) * kernel(
            plane.x[:, None] - plane.x, plane.y[:, None] - plane.y, guess
        )
    factors = np.linalg.cholesky(matrices)
    log_determinant = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    smooth = max(len({guess.length for guess in chosen if guess.ratio}), 1)
    prior = np.array([0.0 if guess.ratio else np.log(smooth) for guess in chosen])
    return Covariances(
        chosen, scale, np.linalg.inv(factors), prior - 0.5 * log_determinant, reducible
    )


def noise_matrix(plane: Plane, noise: Array) -> Array:
    """Independent noise, half of whose variance is shared by rows of one trained model."""
    same = plane.group[:, None] == plane.group
    shared = SHARED * same + (1 - SHARED) * np.eye(len(noise))
    return np.asarray(np.outer(noise, noise) * shared)


def kernel(dx: Array, dy: Array, guess: Hypothesis) -> Array:
    """Covariance of the discrepancy between places dx, dy apart, in units of the scale."""
    short = guess.ratio**2 * np.exp(-0.5 * (dx**2 + dy**2) / guess.length**2)
    return np.asarray(short + along(dx + dy, guess))


def along(dc: Array, guess: Hypothesis) -> Array:
    """The part of the kernel that depends on compute alone."""
    return np.asarray((guess.ratio * LONG_RATIO) ** 2 * np.exp(-0.5 * (dc / LONG) ** 2))


@dataclass(frozen=True)
class Pilot:
    """A first law, by weighted least squares over a grid of exponents."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def reducible(self, plane: Plane) -> Array:
        """R of each run; at least a twentieth of the loss, so that no run is held to be certain."""
        return np.asarray(np.maximum(self._falling(plane.x, plane.y), 0.05 * plane.loss))

    def residual(self, plane: Plane) -> Array:
        """Loss of each run minus the law's."""
        return np.asarray(plane.loss - self.E - self._falling(plane.x, plane.y))

    def excess(self, plane: Plane) -> Array:
        """Log of the law's loss above its own optimum at the same compute."""
        x = (np.log(self.alpha * self.A / (self.beta * self.B)) + self.beta * plane.c) / (
            self.alpha + self.beta
        )
        at = self.E + self._falling(plane.x, plane.y)
        return np.asarray(np.log(at / (self.E + self._falling(x, plane.c - x))))

    def _falling(self, x: Array, y: Array) -> Array:
        return np.asarray(self.A * np.exp(-self.alpha * x) + self.B * np.exp(-self.beta * y))


def pilot(plane: Plane, multiplier: Array) -> Pilot:
    """The most likely law of a grid of exponents when a run's noise is its loss times a multiplier."""
    noise = multiplier * plane.loss * np.where(plane.spoilt, OFF_RECORD, 1)
    axis = PRIOR_MIDDLE + PRIOR_WIDTH * np.linspace(-2.2, 2.2, 20)
    found = restricted_alone(noise, plane.x, plane.y, plane.loss, axis)
    prior = -0.5 * ((axis - PRIOR_MIDDLE) / PRIOR_WIDTH) ** 2
    density = found.log_likelihood[0] + prior[:, None] + prior
    row, column = np.unravel_index(int(np.argmax(density)), density.shape)
    E, A, B = (float(value) for value in found.amplitudes[0, row, column])
    return Pilot(
        E, max(A, 1e-12), max(B, 1e-12), float(np.exp(axis[row])), float(np.exp(axis[column]))
    )
