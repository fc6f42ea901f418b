"""Surfaces: laws with their discrepancy, drawn from a posterior or representing its middle.

x, y centred logs of N and D; c = x + y log of compute; L loss = E + R,
R = A exp(-alpha x) + B exp(-beta y). A surface is R (1 + g) + E with g the discrepancy. Its optimum
at c is where the slope of the loss along x + y = c vanishes, to first order in g:

    x = x_law - g'(x_law) / (alpha beta),
    x_law = [log(alpha A / beta B) + beta c] / (alpha + beta)

Shapes: B surfaces, n runs, K hypotheses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from isoflop.fitting.approaches.base import NoLawError
from isoflop.fitting.kriging.discrepancy import (
    LONG_RATIO,
    Covariances,
    Hypothesis,
    Plane,
    compute_kernel,
)
from isoflop.fitting.kriging.exponents import LARGEST_E, ExponentGrid
from isoflop.laws.additive import IsoflopOptimum, additive_optimum
from isoflop.laws.base import Array

__all__ = ["Surfaces", "draw_surfaces", "middle_surfaces"]

DRIFT = 1.5
"""Growth of the variance of g' beyond the runs, per unit of log FLOPs: at larger scale the
discrepancy may exceed that of the runs. With 0 the 90 % intervals of N cover .77 and .76 of
simulated mild misfits at 10x and 100x the compute and .74 and .67 of strong ones; with 1.5 .87 to
.92 (100 and 150 sweeps each)."""
LEAST_AMPLITUDE = 1e-12
"""Least E, A and B as a share of the lowest loss, so that the unit of the loss does not matter."""
LARGEST_STEP = 2.0
"""Most log N by which a discrepancy may move the optimum."""
FLOOR, FLOOR_WIDTH = 0.6, 0.12
"""Beyond the runs, the loss that no compute removes, as a share of the lowest loss at the largest
runs, and its standard deviation. In most public sweeps the E of the additive law is too high: at
the median it over-predicts the loss of the next budget by .4 % and at 10x by 1.3 %; .6 errs by .2
and .1 %."""
LEAST_E = 0.2
"""E as a share of that loss, from which on this floor holds in full. Below, it sinks with E, to 0
where the law has no E."""
SLOPE_WIDTH = 0.15
"""Standard deviation of the log of the slope beyond the runs: trends of the loss bend. With 0 the
90 % intervals of the loss cover .72, .76 and .78 of held-out budgets (next, 3x, 10x), with .15 .84,
.88 and .92."""
ANCHORS = np.linspace(0, 1.05, 4)
"""Log FLOPs below the largest runs at which the lowest losses give the slope."""
LEAST_DECAY = 0.01
"""A tenth of any published decay; more compute then always helps."""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """B surfaces, each with its hypothesis, law, whitened residuals and noise."""

    plane: Plane
    covariances: Covariances
    hypothesis: NDArray[np.intp]
    E: Array
    A: Array
    B: Array
    alpha: Array
    beta: Array
    residual: Array
    """Whitened losses minus the whitened law, shape (B, n)."""
    deviation: Array
    """Standard deviation of the whitened errors; 0 for surfaces that represent a mean."""
    standard: Array
    """Standard normal numbers, shape (5, B): for g, for its slopes across and along the path of the
    optima, for the floor, and for the slope beyond the runs."""

    @cached_property
    def largest(self) -> float:
        """Mean c of the runs within a factor of 1.4 of the largest."""
        c = self.plane.c[~self.plane.is_outlier]
        return float(c[c > c.max() - 0.35].mean())

    @cached_property
    def has_no_discrepancy(self) -> NDArray[np.bool_]:
        """Which surfaces have no discrepancy."""
        return np.array([not guess.ratio for guess in self.covariances.hypotheses])[self.hypothesis]

    @cached_property
    def errors(self) -> tuple[float, float]:
        """Noise and discrepancy of an ordinary run: root mean squares, as shares of the loss."""
        ratio = np.array([guess.ratio for guess in self.covariances.hypotheses])[self.hypothesis]
        noise, misfit = (
            float(np.sqrt(np.mean(each**2))) for each in (self.deviation, ratio * self.deviation)
        )
        return noise, misfit

    def valley(self, c: Array | float) -> IsoflopOptimum:
        """Minimum of each surface along x + y = c.

        c is a number, an array of shape (B,), or one of shape (P, 1). Beyond the largest runs the
        loss is FLOOR + (loss there - FLOOR) exp(-slope (c - c_largest)), with the slope of the
        lowest losses there. Without a discrepancy it is the law's.
        """
        c, _ = np.broadcast_arrays(np.asarray(c, dtype=float), self.E)
        kriged = self._kriged(c, self.standard[0])
        floor, top, decay = self._horizon
        extended = floor + (top - floor) * np.exp(-decay * np.maximum(c - self.largest, 0))
        loss = np.where(self.has_no_discrepancy | (c <= self.largest), kriged.loss, extended)
        return IsoflopOptimum(kriged.x, loss, kriged.reducible)

    @cached_property
    def _horizon(self) -> tuple[Array, Array, Array]:
        """Floor, loss at the largest runs, and decay of their difference with c, each (B,)."""
        below = ANCHORS[:, None]
        noise = _mixed(self.standard, below / ANCHORS[-1])
        losses = self._kriged(self.largest - below + np.zeros(len(self.E)), noise).loss
        floor = losses[0] * np.clip(FLOOR + FLOOR_WIDTH * self.standard[3], 0.3, 0.9)
        floor = floor * np.minimum(self.E / (LEAST_E * losses[0]), 1)
        away = below - ANCHORS.mean()
        log_above = np.log(np.maximum(losses - floor, 1e-3 * floor))
        decay = np.maximum(np.sum(away * log_above, axis=0) / np.sum(away**2), LEAST_DECAY)
        return floor, losses[0], decay * np.exp(SLOPE_WIDTH * self.standard[4])

    def _kriged(self, c: Array, noise: Array) -> IsoflopOptimum:
        """The optimum with the law's own E; c (..., B); noise: standard normal numbers for g."""
        law = additive_optimum(self.E, self.A, self.B, self.alpha, self.beta, c)
        g, slope = self._discrepancy(law.x, c, np.broadcast_to(noise, law.x.shape))
        step = np.clip(slope / (self.alpha * self.beta), -LARGEST_STEP, LARGEST_STEP)
        return IsoflopOptimum(law.x - step, self.E + law.reducible * (1 + g), law.reducible)

    def _discrepancy(self, x: Array, c: Array, noise: Array) -> tuple[Array, Array]:
        """g and its slope along the isoFLOP at (x, c - x) of each surface, shape (..., B)."""
        g, slope = np.zeros((2, *x.shape))
        for number in np.unique(self.hypothesis[~self.has_no_discrepancy]):
            rows = self.hypothesis == number
            guess = self.covariances.hypotheses[number]
            scale = self.covariances.scale[number] / self.covariances.reducible
            whitener, residual = self.covariances.whiteners[number].T, self.residual[rows]
            dx, dy = x[..., rows, None] - self.plane.x, (c - x)[..., rows, None] - self.plane.y
            short = scale * guess.ratio**2 * np.exp((dx * dx + dy * dy) * (-0.5 / guess.length**2))
            of_g = (short + scale * compute_kernel(dx + dy, guess)) @ whitener
            of_slope = (short * (dy - dx)) @ (whitener / guess.length**2)
            g[..., rows], slope[..., rows] = (
                np.einsum("...n,...n", of, residual) for of in (of_g, of_slope)
            )
            if self.deviation.any():
                before = _prior_variances(guess, np.maximum(c[..., rows] - self.plane.c.max(), 0))
                known = (np.einsum("...n,...n", of, of) for of in (of_g, of_slope))
                left = [
                    self.deviation[rows]
                    * np.sqrt(np.maximum(prior / self.covariances.reducible**2 - part, 0))
                    for prior, part in zip(before, known, strict=True)
                ]
                g[..., rows] += left[0] * noise[..., rows]
                slope[..., rows] += left[1] * self.standard[1, rows]
        return g, slope


def _mixed(standard: Array, share: Array) -> Array:
    """Numbers between those for g at the largest runs and independent ones at the last anchor."""
    return np.asarray((1 - share) * standard[0] + share * standard[2])


def _prior_variances(guess: Hypothesis, beyond: Array) -> tuple[Array, Array]:
    """Variances of g and its slope along the isoFLOP, `beyond` log FLOPs past the largest run."""
    slope = 2 * guess.ratio**2 / guess.length**2
    return np.full(beyond.shape, guess.ratio**2 * (1 + LONG_RATIO**2)), slope * (1 + DRIFT * beyond)


@contextmanager
def _determined() -> Iterator[None]:
    """Raise NoLawError where the equations of the amplitudes have no solution."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise NoLawError(
            "These runs show no law, since the equations for it have no solution",
            "look for losses, params or tokens far from those of the other runs",
        ) from error


@_determined()
def draw_surfaces(
    plane: Plane, given: Covariances, grid: ExponentGrid, number: int, random: np.random.Generator
) -> Surfaces:
    """Surfaces drawn from the posterior; Raises NoLawError where the runs determine none.

    Hypothesis, exponents, amplitudes, scale of the errors and discrepancy are all drawn.
    """
    shares = (np.arange(number) + random.random()) / number
    hypothesis, alpha, beta = _exponents(grid, shares, random.random((2, number)) - 0.5)
    white, mean, covariance, left = _least_squares(plane, given, hypothesis, alpha, beta)
    deviation = np.sqrt(left / random.chisquare(len(plane.x) - 3, number))
    factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    lowest = float(plane.loss.min())
    below = mean[:, 0] < 0
    if below.any():
        E = _above_zero(mean[below, 0], deviation[below] * factor[below, 0, 0], random)
        E = np.maximum(E, LEAST_AMPLITUDE * lowest)
        mean[below], factor[below, :, 0] = _given_E(mean[below], covariance[below], E), 0
    amplitudes = _positive(mean, deviation, factor, random, lowest)
    return _surfaces(
        plane,
        given,
        hypothesis,
        (alpha, beta),
        amplitudes,
        white,
        deviation,
        random.normal(size=(5, number)),
    )


@_determined()
def middle_surfaces(plane: Plane, given: Covariances, grid: ExponentGrid, number: int) -> Surfaces:
    """Surfaces of equal weight that represent the posterior's middle.

    Amplitudes and discrepancy are their means; nothing is random. Raises NoLawError where the runs
    determine none.
    """
    shares = (np.arange(number) + 0.5) / number
    hypothesis, alpha, beta = _exponents(grid, shares, np.zeros((2, number)))
    white, mean, covariance, _ = _least_squares(plane, given, hypothesis, alpha, beta)
    mean = _given_E(mean, covariance, np.maximum(mean[:, 0], 0))
    return _surfaces(
        plane,
        given,
        hypothesis,
        (alpha, beta),
        np.maximum(mean, LEAST_AMPLITUDE * float(plane.loss.min())),
        white,
        np.zeros(number),
        np.zeros((5, number)),
    )


def _exponents(
    grid: ExponentGrid, shares: Array, jitter: Array
) -> tuple[NDArray[np.intp], Array, Array]:
    """Hypothesis, alpha and beta of the cells at shares of the posterior's cumulative mass."""
    cumulative = np.cumsum(grid.mass.ravel())
    cells = np.searchsorted(cumulative, shares * cumulative[-1] * (1 - 1e-12))
    hypothesis, row, column = np.unravel_index(cells, grid.mass.shape)
    step_alpha, step_beta = grid.spacing
    log_alpha = grid.log_alpha[hypothesis, row] + jitter[0] * step_alpha[hypothesis]
    log_beta = grid.log_beta[hypothesis, column] + jitter[1] * step_beta[hypothesis]
    return hypothesis.astype(np.intp), np.exp(log_alpha), np.exp(log_beta)


def _least_squares(
    plane: Plane, given: Covariances, hypothesis: NDArray[np.intp], alpha: Array, beta: Array
) -> tuple[Array, Array, Array, Array]:
    """Whitened columns, amplitudes, their unit covariance, and the sum of squares.

    The columns are 1, exp(-alpha x), exp(-beta y) and L.
    Where the best E is negative, the sum of squares is that of the best law with E = 0.
    """
    ones = np.ones((len(alpha), len(plane.x)))
    columns = [
        ones,
        np.exp(-alpha[:, None] * plane.x),
        np.exp(-beta[:, None] * plane.y),
        ones * plane.loss,
    ]
    white = np.stack(columns, axis=-1)
    for number in np.unique(hypothesis):
        white[hypothesis == number] = given.whiteners[number] @ white[hypothesis == number]
    basis, target = white[..., :3], white[..., 3:]
    transposed = np.swapaxes(basis, 1, 2)
    covariance = np.linalg.inv(transposed @ basis)
    mean = covariance @ (transposed @ target)
    left = np.sum((target - basis @ mean) ** 2, axis=(1, 2))
    below = np.minimum(mean[:, 0, 0], 0)
    return white, mean[..., 0], covariance, left + below**2 / covariance[:, 0, 0]


def _given_E(mean: Array, covariance: Array, E: Array) -> Array:
    """Amplitudes given E: A and B follow from their covariance with it."""
    return np.asarray(mean + covariance[:, :, 0] / covariance[:, :1, 0] * (E - mean[:, 0])[:, None])


def _above_zero(mean: Array, deviation: Array, random: np.random.Generator) -> Array:
    """Normal numbers with means below 0, conditioned on being positive."""
    share = log_ndtr(mean / deviation) + np.log(random.uniform(size=len(mean)))
    return np.asarray(mean - deviation * ndtri_exp(share))


def _positive(
    mean: Array, deviation: Array, factor: Array, random: np.random.Generator, lowest: float
) -> Array:
    """Amplitudes drawn around their means, drawn again where one is not above 0.

    After 40 attempts the means take their place. lowest: the lowest loss, which E stays below.
    """
    amplitudes = np.maximum(mean, LEAST_AMPLITUDE * lowest)
    todo = np.arange(len(mean))
    for _ in range(40):
        noise = (
            deviation[todo, None] * (factor[todo] @ random.normal(size=(len(todo), 3, 1)))[..., 0]
        )
        new = mean[todo] + noise
        good = (new > 0).all(axis=1) & (new[:, 0] < LARGEST_E * lowest)
        amplitudes[todo[good]] = new[good]
        todo = todo[~good]
        if not len(todo):
            break
    return amplitudes


def _surfaces(
    plane: Plane,
    given: Covariances,
    hypothesis: NDArray[np.intp],
    exponents: tuple[Array, Array],
    amplitudes: Array,
    white: Array,
    deviation: Array,
    standard: Array,
) -> Surfaces:
    residual = white[..., 3] - (white[..., :3] @ amplitudes[..., None])[..., 0]
    E, A, B = amplitudes.T
    return Surfaces(plane, given, hypothesis, E, A, B, *exponents, residual, deviation, standard)
