"""Worlds whose laws are drawn anew for each sweep, with and without a smooth misfit.

40 runs: five budgets from 1e18 to 1e20 FLOPs, eight sizes each within x/÷5 of a centre that is off
by x/÷1.28 (one standard deviation). Laws: alpha .34 +- .03, beta .37 +- .03, E 1.5 to 2, about 20
tokens per param best.
"""

import math
from dataclasses import dataclass

import numpy as np
from fixed_worlds import DISTANCES, Sweep, Truth
from tables import a_run

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array

BUDGETS = np.geomspace(1e18, 1e20, 5)
SPAN, SIZES, LENGTH = 5.0, 8, 1.8
GRID = np.linspace(-1.5, 1.5, 121)
"""Log N around the law's optimum where the truth is looked for."""


@dataclass(frozen=True)
class World:
    noise: float
    misfit: float = 0.0
    """Standard deviation of the Gaussian process as a share of the loss."""
    coupling: float = 0.0
    spoilt: int = 0


WORLDS = {
    "clean, noise .2 %": World(0.002),
    "clean, noise 1 %": World(0.01),
    "mild misfit": World(0.002, misfit=0.0024),
    "strong misfit": World(0.003, misfit=0.006),
    "coupled terms": World(0.002, coupling=0.3),
    "3 runs spoilt": World(0.002, spoilt=3),
}


def drawn_law(random: np.random.Generator) -> ChinchillaLaw:
    alpha, beta, E = random.normal(0.34, 0.03), random.normal(0.37, 0.03), random.uniform(1.5, 2)
    N = math.sqrt(1e20 / 6 / 20) * math.exp(random.normal(0, 0.3))
    reducible, share = random.uniform(0.8, 1.2), beta / (alpha + beta)
    A, B = reducible * share * N**alpha, reducible * (1 - share) * (1e20 / 6 / N) ** beta
    return ChinchillaLaw(E, A, B, alpha, beta)


def reducible(
    law: ChinchillaLaw, world: World, x: Array, y: Array, random: np.random.Generator
) -> Array:
    """True loss minus E at log sizes x and log tokens y, the same function at all of them."""
    size, data = law.A * np.exp(-law.alpha * x), law.B * np.exp(-law.beta * y)
    if world.coupling:
        power = math.exp(random.choice([-1, 1]) * world.coupling)
        worse = random.normal() * 0.1 * world.coupling * np.exp(-(x - x.min()) / 2)
        return (size ** (1 / power) + data ** (1 / power)) ** power * np.exp(worse)
    if not world.misfit:
        return size + data
    square = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    values, vectors = np.linalg.eigh(np.exp(-0.5 * square / LENGTH**2))
    process = vectors @ (np.sqrt(np.maximum(values, 0)) * random.standard_normal(len(x)))
    return (size + data) * np.exp(amplitude(law, world, size + data) * process)


def amplitude(law: ChinchillaLaw, world: World, R: Array) -> float:
    """Of the process on log (L - E)."""
    return world.misfit / float(np.median(R / (R + law.E)))


def simulated(world: World, random: np.random.Generator) -> Sweep:
    return of_law(drawn_law(random), world, random)


def of_law(law: ChinchillaLaw, world: World, random: np.random.Generator) -> Sweep:
    targets = [each * BUDGETS[-1] for each in DISTANCES]
    steps = np.linspace(-math.log(SPAN), math.log(SPAN), SIZES)
    sizes = [math.log(law.optimum(C)[0]) + random.normal(0, 0.25) + steps for C in BUDGETS]
    grids = [math.log(law.optimum(C)[0]) + GRID for C in targets]
    x = np.concatenate([*sizes, *grids])
    C = np.concatenate([np.repeat(BUDGETS, SIZES), np.repeat(targets, len(GRID))])
    loss = law.E + reducible(law, world, x, np.log(C / 6) - x, random)
    n = len(BUDGETS) * SIZES
    spoilt = frozenset(random.choice(n, world.spoilt, replace=False).tolist())
    measured = loss[:n] * (1 + world.noise * random.standard_normal(n))
    measured *= [1.05 if number in spoilt else 1 for number in range(n)]
    runs = [
        a_run(N, flops / 6 / N, value, flops, budget=flops)
        for N, flops, value in zip(
            np.exp(x[:n]).tolist(), C[:n].tolist(), measured.tolist(), strict=True
        )
    ]
    there = np.split(loss[n:], len(targets))
    truths = {
        distance: _truth(law, target, grid, part)
        for distance, target, grid, part in zip(DISTANCES, targets, grids, there, strict=True)
    }
    return Sweep(runs, truths, spoilt)


def _truth(law: ChinchillaLaw, C: float, x: Array, loss: Array) -> Truth:
    """The lowest point, by a parabola through it and its neighbours."""
    best = int(np.clip(np.argmin(loss), 1, len(x) - 2))
    near = slice(best - 1, best + 2)
    bend, slope, _ = np.polyfit(x[near] - x[best], loss[near], 2)
    log_N, total = float(x[best] - slope / (2 * bend)), law.alpha + law.beta

    def wasted(size: float) -> float:
        return 1 - math.exp(-total / 2 * (size - log_N) ** 2)

    return Truth(float(C), log_N, math.log(loss.min()), wasted)
