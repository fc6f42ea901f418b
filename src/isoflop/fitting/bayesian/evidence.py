"""What runs say of the optimum within their own range: places on its path, with their doubt.

c = log N D. Where runs have budgets, the places are the minima of the budgets; where they have
none, and above the largest minimum, they are what kriging sees there.
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
"""Log FLOPs between the largest minimum and the largest run from which on kriging is asked."""
NUM_PLACES, NUM_DRAWS = 5, 250
STEP = 0.01
"""Of log N, over which the growth of FLOPs per token is taken."""
TAIL = 0.01
"""Of the draws on either side, set to the one there, so that a few decide no covariance."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """n places on the path of the optimum, by rising compute."""

    c: Array
    log_N: Array
    covariance: Array
    """Of log N, shape (n, n)."""
    log_loss: Array
    loss_covariance: Array
    sharpness: tuple[float, float] | None
    """Log of alpha + beta and its standard error, where kriging tells it."""
    bend: tuple[float, float] | None
    """Second derivative of log loss in log N, and the standard error of its logarithm, where the budgets tell it."""
    minima: Minima | None
    """The budgets' minima, where the places are those."""


def gather(points: Points, posterior: Posterior | None) -> Evidence | None:
    """The evidence of some runs; None where they show no optimum.

    posterior: by kriging; None where it finds no law.
    """
    minima = find_minima(points)
    if len(minima) < LEAST_MINIMA:
        return None if posterior is None else _kriged(posterior, points)
    found = _of_minima(minima, points)
    largest = float(np.log(points.N * points.D).max())
    if posterior is None or largest - found.c[-1] < BEYOND:
        return found
    return _joined(found, _kriged(posterior, points, since=float(found.c[-1]) + BEYOND / 2))


def _of_minima(minima: Minima, points: Points) -> Evidence:
    """Minima along counted FLOPs, moved to where they are along N D.

    With FLOPs per token that grow as N^(1 + e) a budget's minimum lies e / (alpha + beta) below
    that of the same N D, to first order in e; alpha + beta is the bend over the fall of log loss.
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
    draws = posterior.draw(NUM_DRAWS, np.random.default_rng(0))
    c = np.log(points.N * points.D)
    places = np.linspace(max(float(c.min()), since), float(c.max()), NUM_PLACES)
    flops = 6 * np.exp(places)[:, None]
    log_N, log_loss = np.log(draws.optimum(flops)[0]), np.log(draws.optimal_loss(flops))
    total = np.log(draws.alpha + draws.beta)
    return Evidence(
        c=places,
        log_N=np.median(log_N, axis=1),
        covariance=_covariance(log_N),
        log_loss=np.median(log_loss, axis=1),
        loss_covariance=_covariance(log_loss),
        sharpness=(float(np.median(total)), float(total.std())),
        bend=None,
        minima=None,
    )


def _covariance(values: Array) -> Array:
    """Of rows of draws, without their tails."""
    low, high = np.quantile(values, [TAIL, 1 - TAIL], axis=1)[..., None]
    return np.asarray(np.cov(np.clip(values, low, high)))


def _joined(below: Evidence, above: Evidence) -> Evidence:
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
