"""Errors of a law: noise, and a smooth discrepancy that grows away from the best and largest runs.

x, y centred logs of N and D; c = x + y log of compute; L loss; R the part of the loss that falls
with size and data. A hypothesis is one covariance of the errors of all runs:

    noise         (m L)^2 on the diagonal, half of it shared by rows of one trained model
    discrepancy   (ratio m R / r)^2 times [exp(-d^2 / 2 length^2) + exp(-(c - c')^2 / 2 LONG^2)]

d is the distance in the (x, y) plane and r the median of R / L, so that `ratio` is the discrepancy
of an ordinary run in standard deviations of the noise. The second kernel depends on compute alone:
it lets the loss of the optima leave the additive law without moving them. m reduces the weight of
runs that are far from the answer: see `Weighting`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop.fitting.kriging.exponents import PRIOR_MIDDLE, PRIOR_WIDTH, restricted_alone
from isoflop.laws.additive import additive_optimum
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = [
    "Covariances",
    "Hypothesis",
    "Plane",
    "Weighting",
    "covariances",
    "first_law",
    "hypotheses",
]

SAME_COMPUTE = 0.1
"""Difference in log FLOPs up to which a larger run's loss counts as reached by a smaller one."""
ALLOWANCE = 0.03
"""Own excess that noise may explain. Where a run's own noise sets its weight, the likelihood
prefers the weights that excuse the noise: with 225 runs and 1 % noise the error of N at 10x the
compute is .16 with an allowance of .015 and .05 with .03 (.04 by least squares under the true
law)."""
FAR_LOSS = 0.09
"""Excess log loss at which a run counts half. Small models trained on few tokens are in another
regime in most public sweeps: without this weight, the 90th percentile of held-out errors of N is
.38 (next budget) and 1.2 (10x) instead of .16 and .27."""
LONG = 2.0
"""Log FLOPs over which the second kernel changes."""
LONG_RATIO = 0.7
"""Size of the second kernel relative to the first. The answer hardly depends on it: from 0 to 1.5,
median held-out errors of N are .047 to .057 (next budget) and .073 to .081 (3x)."""
SHARED = 0.5
"""Share of the noise variance that rows of one trained model have in common."""
OUTLIER_NOISE = 1e3
"""Factor on the noise of an outlier, so that it does not count."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Runs in centred logs, with their excess over the best loss at their compute."""

    x: Array
    y: Array
    loss: Array
    middle: tuple[float, float]
    """Log N and log D of the centre."""
    group: NDArray[np.intp]
    """Index of the trained model that a row belongs to; rows without a group have their own."""
    is_outlier: NDArray[np.bool_]

    @classmethod
    def of(cls, points: Points, is_outlier: NDArray[np.bool_] | None = None) -> "Plane":
        """The runs of the points; no outliers unless given."""
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
            none if is_outlier is None else is_outlier,
        )

    @cached_property
    def c(self) -> Array:
        """Centred log N D."""
        return np.asarray(self.x + self.y)

    @cached_property
    def own_excess(self) -> Array:
        """Log loss above the lowest loss reached with no more compute, shape (n,)."""
        order = np.argsort(self.c)
        trusted = np.where(self.is_outlier, np.inf, self.loss)[order]
        last = np.searchsorted(self.c[order], self.c + SAME_COMPUTE, side="right") - 1
        best = np.minimum.accumulate(trusted)[last]
        return np.where(np.isfinite(best), np.maximum(np.log(self.loss / best), 0), 0)

    @cached_property
    def excess(self) -> Array:
        """Log loss above the best at the same compute by a first law.

        A run's own excess counts instead where that is far larger.
        """
        law = first_law(self, NEAR.multiplier(self, self.own_excess))
        return np.asarray(np.maximum(law.excess(self), self.own_excess - ALLOWANCE))


def _groups(points: Points) -> NDArray[np.intp]:
    if not any(run.group for run in points.runs):
        return np.arange(len(points))
    names = [run.group or number for number, run in enumerate(points.runs)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.intp)


@dataclass(frozen=True)
class Weighting:
    """Weight of a run by its excess loss and by its distance from the largest run.

    Noise and discrepancy of a run are multiplied by
    m = (1 + (e / FAR_LOSS)^2) sqrt(1 + (e / `excess`)^2) sqrt(1 + ((c_max - c) / `compute`)^2),
    where e is the excess loss.
    """

    excess: float = np.inf
    compute: float = np.inf

    def multiplier(self, plane: Plane, excess: Array | None = None) -> Array:
        """m of each run; `excess` is the plane's unless given."""
        above = plane.excess if excess is None else excess
        below = (plane.c.max() - plane.c) / self.compute
        near = np.sqrt((1 + (above / self.excess) ** 2) * (1 + below**2))
        return np.asarray(np.minimum((1 + (above / FAR_LOSS) ** 2) * near, OUTLIER_NOISE))


EVEN, NEAR = Weighting(), Weighting(excess=0.03, compute=3.0)


@dataclass(frozen=True)
class Hypothesis:
    """One covariance of the errors; with ratio 0 the law is right everywhere."""

    weighting: Weighting
    length: float = 1.0
    ratio: float = 0.0


@dataclass(frozen=True, eq=False)
class Covariances:
    """The hypotheses for a set of runs, with what whitens their errors."""

    hypotheses: tuple[Hypothesis, ...]
    scale: Array
    """m R / r of each run, shape (K, n)."""
    whiteners: Array
    """Inverse Cholesky factors, shape (K, n, n)."""
    log_prior: Array
    """Log prior of each hypothesis minus half its log determinant."""
    reducible: float
    """r: median of R / L."""


def hypotheses(lengths: tuple[float, ...], ratios: tuple[float, ...]) -> tuple[Hypothesis, ...]:
    """The law without discrepancy, and one of each length and ratio under both weightings."""
    smooth = [
        Hypothesis(w, length, ratio) for w in (EVEN, NEAR) for length in lengths for ratio in ratios
    ]
    return (Hypothesis(EVEN), *smooth)


def covariances(plane: Plane, chosen: tuple[Hypothesis, ...]) -> Covariances:
    """Covariance, whitener and prior of each hypothesis.

    The prior of the law without discrepancy is that of another hypothesis times the number of
    lengths.
    """
    R = first_law(plane, NEAR.multiplier(plane)).reducible(plane)
    reducible = float(np.median(R / plane.loss))
    noise, scale = np.empty((2, len(chosen), len(plane.loss)))
    matrices = np.empty((len(chosen), len(plane.loss), len(plane.loss)))
    for row, guess in enumerate(chosen):
        multiplier = guess.weighting.multiplier(plane)
        noise[row] = _noise(plane, multiplier)
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


def _noise(plane: Plane, multiplier: Array) -> Array:
    """Standard deviation of the noise of each run, in units of its loss times the noise's scale."""
    return np.asarray(multiplier * plane.loss * np.where(plane.is_outlier, OUTLIER_NOISE, 1))


def noise_matrix(plane: Plane, noise: Array) -> Array:
    """Covariance of the noise, half of whose variance rows of one trained model share."""
    same = plane.group[:, None] == plane.group
    shared = SHARED * same + (1 - SHARED) * np.eye(len(noise))
    return np.asarray(np.outer(noise, noise) * shared)


def kernel(dx: Array, dy: Array, guess: Hypothesis) -> Array:
    """Covariance of the discrepancy at a distance of (dx, dy), in units of the scale."""
    short = guess.ratio**2 * np.exp(-0.5 * (dx**2 + dy**2) / guess.length**2)
    return np.asarray(short + compute_kernel(dx + dy, guess))


def compute_kernel(dc: Array, guess: Hypothesis) -> Array:
    """The part of the kernel that depends on compute alone."""
    return np.asarray((guess.ratio * LONG_RATIO) ** 2 * np.exp(-0.5 * (dc / LONG) ** 2))


@dataclass(frozen=True)
class FirstLaw:
    """A first law in centred logs, by weighted least squares over a grid of exponents."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def reducible(self, plane: Plane) -> Array:
        """R of each run; at least a twentieth of the loss, so that no run counts as certain."""
        return np.asarray(np.maximum(self._falling(plane.x, plane.y), 0.05 * plane.loss))

    def residual(self, plane: Plane) -> Array:
        """Loss of each run minus the law's."""
        return np.asarray(plane.loss - self.E - self._falling(plane.x, plane.y))

    def excess(self, plane: Plane) -> Array:
        """Log of the law's loss above its own optimum at the same compute."""
        valley = additive_optimum(self.E, self.A, self.B, self.alpha, self.beta, plane.c)
        at = self.E + self._falling(plane.x, plane.y)
        return np.asarray(np.log(at / valley.loss))

    def _falling(self, x: Array, y: Array) -> Array:
        return np.asarray(self.A * np.exp(-self.alpha * x) + self.B * np.exp(-self.beta * y))


def first_law(plane: Plane, multiplier: Array) -> FirstLaw:
    """The most likely law of a grid of exponents, where noise is the loss times a multiplier."""
    axis = PRIOR_MIDDLE + PRIOR_WIDTH * np.linspace(-2.2, 2.2, 20)
    laws = restricted_alone(_noise(plane, multiplier), plane.x, plane.y, plane.loss, axis)
    prior = -0.5 * ((axis - PRIOR_MIDDLE) / PRIOR_WIDTH) ** 2
    density = laws.log_likelihood[0] + prior[:, None] + prior
    row, column = np.unravel_index(int(np.argmax(density)), density.shape)
    E, A, B = (float(value) for value in laws.amplitudes[0, row, column])
    alpha, beta = float(np.exp(axis[row])), float(np.exp(axis[column]))
    least = 1e-12 * float(plane.loss.min())
    return FirstLaw(E, max(A, least), max(B, least), alpha, beta)
