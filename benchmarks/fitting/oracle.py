"""How well the best size could be known by who knows the world: an oracle's standard deviation.

The oracle knows the misfit's size and length and the noise, and has a wide prior on the law's five
numbers; the law is linear around the true one, so that losses and optimum are jointly normal. With
x = log N, y = log D from the centre of the runs and c = x + y,

    log N_opt = [log(alpha A / beta B) + beta c] / (alpha + beta) - m g' / (alpha beta)

where log(L - E) is off by m g, g a Gaussian process of unit variance and g' its slope along the
isoFLOP at the optimum.
"""

import math

import numpy as np
from drawn_worlds import LENGTH, World, amplitude
from fixed_worlds import Sweep

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array

PRIOR = (1.0, 2.0, 2.0, 0.17, 0.17)
"""Standard deviations of E, of A and B over their values, of the logs of alpha and beta."""


def deviations(law: ChinchillaLaw, world: World, sweep: Sweep) -> dict[int, float]:
    """Distance -> standard deviation of log N_opt."""
    x = np.log([run.num_params for run in sweep.runs])
    y = np.log([run.num_tokens for run in sweep.runs])
    centre = float(x.mean()), float(y.mean())
    x, y = x - centre[0], y - centre[1]
    A, B = law.A * math.exp(-law.alpha * centre[0]), law.B * math.exp(-law.beta * centre[1])
    size, data = A * np.exp(-law.alpha * x), B * np.exp(-law.beta * y)
    columns = np.stack(
        [np.ones_like(x), size / A, data / B, -law.alpha * x * size, -law.beta * y * data], axis=1
    )
    prior = np.diag(np.array(PRIOR) * [1, A, B, 1, 1]) ** 2
    R = size + data
    m = amplitude(law, world, R)
    losses = columns @ prior @ columns.T + np.diag((world.noise * (law.E + R)) ** 2)
    square = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    losses += m**2 * np.outer(R, R) * np.exp(-0.5 * square / LENGTH**2)
    found = {}
    for distance, truth in sweep.truths.items():
        c = math.log(truth.flops / 6) - sum(centre)
        place, gradient = _optimum(law, A, B, c)
        across = columns @ prior @ gradient - m**2 * R * _slope(law, place - x, c - place - y)
        own = gradient @ prior @ gradient
        own += 2 * (m / LENGTH / (law.alpha * law.beta)) ** 2
        found[distance] = math.sqrt(own - across @ np.linalg.solve(losses, across))
    return found


def _optimum(law: ChinchillaLaw, A: float, B: float, c: float) -> tuple[float, Array]:
    """Log N_opt from the centre, and its gradient in E, A, B and the logs of the exponents."""
    alpha, beta = law.alpha, law.beta
    total = alpha + beta
    place = (math.log(alpha * A / (beta * B)) + beta * c) / total
    gradient = [0, 1 / A, -1 / B, 1 - alpha * place, beta * (c - place) - 1]
    return place, np.array(gradient) / total


def _slope(law: ChinchillaLaw, dx: Array, dy: Array) -> Array:
    """Covariance of g' / (alpha beta) at the optimum with g at the runs."""
    kernel = np.exp(-0.5 * (dx**2 + dy**2) / LENGTH**2)
    return kernel * (dy - dx) / LENGTH**2 / (law.alpha * law.beta)
