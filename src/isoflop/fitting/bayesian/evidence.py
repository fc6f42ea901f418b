"""Evidence: estimates of the optimum within the range of the runs, with their covariance.

c = log N D. The estimates are the minima of the budgets. Where runs have no budgets, and above the
largest minimum, they come from kriging.
"""

import math
from dataclasses import dataclass

import numpy as np

from isoflop.fitting.bayesian.minima import Minima, find_minima
from isoflop.fitting.kriging.approach import Posterior
from isoflop.laws.base import Array, cost_of
from isoflop.laws.cost import measured_cost
from isoflop.laws.points import Points

__all__ = ["Evidence", "gather"]

LEAST_MINIMA = 2
BEYOND = math.log(2)
"""Log FLOPs between the largest minimum and the largest run, from which on kriging is added."""
NUM_ESTIMATES, NUM_DRAWS = 5, 250
"""Estimates from kriging, and the draws from which their covariance is computed."""
STEP = 0.01
"""Step of log N over which the growth of FLOPs per token is measured."""
TAIL = 0.01
"""Share of the draws on either side that is clipped, so that a few do not decide a covariance."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """n estimates of the optimum, by increasing compute."""

    c: Array
    log_N: Array
    covariance: Array
    """Covariance of log N, shape (n, n)."""
    log_loss: Array
    loss_covariance: Array
    sharpness: tuple[float, float] | None
    """Log of alpha + beta and its standard error, from kriging; None where budgets give a bend."""
    bend: tuple[float, float] | None
    """Second derivative of log loss in log N and the standard error of its logarithm, from the
    budgets; None without budgets."""
    minima: Minima | None
    """The budgets' minima; None where all estimates come from kriging."""


def gather(points: Points, posterior: Posterior | None) -> Evidence | None:
    """The evidence in the runs; None where they show no optimum.

    posterior: that of kriging; None where kriging has no law.
    """
    minima = find_minima(points)
    if len(minima) < LEAST_MINIMA:
        return None if posterior is None else _kriged(posterior, points)
    evidence = _of_minima(minima, points)
    largest, top = float(np.log(points.N * points.D).max()), float(evidence.c[-1])
    if posterior is None or largest - top < BEYOND:
        return evidence
    return _joined(evidence, _kriged(posterior, points, since=top + BEYOND / 2))


def _of_minima(minima: Minima, points: Points) -> Evidence:
    """Minima at constant counted FLOPs, converted to minima at constant N D.

    Where FLOPs per token grow as N^(1 + e), a budget's minimum lies e / (alpha + beta) below that
    at the same N D, to first order in e; alpha + beta is the bend over the fall of log loss.
    """
    cost = measured_cost(points.runs)
    log_N, moved = minima.log_N, 0.0
    per_token = np.asarray(cost_of(cost)(np.exp(log_N)))
    c = minima.log_flops + log_N - np.log(per_token)
    if cost is not None:
        above = float(cost(np.exp(log_N[-1] + STEP)))
        e = (math.log(above) - math.log(float(per_token[-1]))) / STEP - 1
        fall = -float(np.polyfit(c, minima.log_loss, 1)[0])
        moved = e * max(fall, 0) / minima.bend
    return Evidence(
        c=c,
        log_N=log_N + moved,
        covariance=np.diag(minima.error**2),
        log_loss=minima.log_loss,
        loss_covariance=np.diag(minima.loss_error**2),
        sharpness=None,
        bend=(minima.bend, minima.bend_error),
        minima=minima,
    )


def _kriged(posterior: Posterior, points: Points, since: float = -math.inf) -> Evidence:
    """Evidence from kriging between `since` and the largest run."""
    draws = posterior.draw(NUM_DRAWS, np.random.default_rng(0))
    c = np.log(points.N * points.D)
    nodes = np.linspace(max(float(c.min()), since), float(c.max()), NUM_ESTIMATES)
    flops = 6 * np.exp(nodes)[:, None]
    log_N, log_loss = np.log(draws.optimum(flops)[0]), np.log(draws.optimal_loss(flops))
    total = np.log(draws.alpha + draws.beta)
    return Evidence(
        c=nodes,
        log_N=np.median(log_N, axis=1),
        covariance=_covariance(log_N),
        log_loss=np.median(log_loss, axis=1),
        loss_covariance=_covariance(log_loss),
        sharpness=(float(np.median(total)), float(total.std())),
        bend=None,
        minima=None,
    )


def _covariance(values: Array) -> Array:
    """Covariance of rows of draws, their tails clipped."""
    low, high = np.quantile(values, [TAIL, 1 - TAIL], axis=1)[..., None]
    return np.asarray(np.cov(np.clip(values, low, high)))


def _joined(below: Evidence, above: Evidence) -> Evidence:
    """Independent evidence of two ranges of compute."""

    def both(first: Array, second: Array) -> Array:
        n, m = len(first), len(second)
        joined = np.zeros((n + m, n + m))
        joined[:n, :n], joined[n:, n:] = first, second
        return joined

    return Evidence(
        c=np.concatenate([below.c, above.c]),
        log_N=np.concatenate([below.log_N, above.log_N]),
        covariance=both(below.covariance, above.covariance),
        log_loss=np.concatenate([below.log_loss, above.log_loss]),
        loss_covariance=both(below.loss_covariance, above.loss_covariance),
        sharpness=None,
        bend=below.bend,
        minima=below.minima,
    )
