"""Worlds with one known law each, which isoflop's law family holds or does not, and many seeds.

N params, D tokens, C FLOPs, L loss. Unless said otherwise: L = 1.8 + 480 / N^.35 + 2100 / D^.37,
budgets 1e18 to 3e19, seven sizes within x/÷4 of the best, noise of .2 % of the loss.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from tables import a_run

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array
from isoflop.runs import Run

DISTANCES = (10, 100)
"""Targets over the largest budget."""


@dataclass(frozen=True)
class Truth:
    """What is best at one target."""

    flops: float
    log_N: float
    log_loss: float
    wasted: Callable[[float], float]
    """Log N that is trained -> share of the compute that this wastes."""


@dataclass(frozen=True)
class Sweep:
    """Runs of a world, and the truth at each distance beyond them."""

    runs: list[Run]
    truths: dict[int, Truth]
    spoilt: frozenset[int] = frozenset()
    """Numbers of runs whose loss is wrong."""


Loss = Callable[[Array, Array], Array]
LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def bent(N: Array, D: Array) -> Array:
    """alpha falls to .6 of itself at 80M params."""
    kink = 8e7
    beyond = LAW.A / kink**LAW.alpha * (kink / N) ** (0.6 * LAW.alpha)
    return LAW.E + np.where(kink > N, LAW.A / N**LAW.alpha, beyond) + LAW.B / D**LAW.beta


def smoothly_bent(N: Array, D: Array) -> Array:
    """alpha falls by .12 around 100M params (a broken power law; Caballero et al. 2023)."""
    return LAW.loss(N, D) + LAW.A / N**LAW.alpha * ((1 + (N / 1e8) ** 1.5) ** 0.08 - 1)


def small_models_worse(N: Array, D: Array) -> Array:
    """A steep term more, which dies out by 100M params."""
    return LAW.loss(N, D) + 8e5 / N**0.8


def interacting(N: Array, D: Array) -> Array:
    """The two terms in a power mean, as in Kaplan et al. 2020."""
    size, data = LAW.A / N**LAW.alpha, LAW.B / D**LAW.beta
    return LAW.E + (size**1.4 + data**1.4) ** (1 / 1.4)


def rippled(N: Array, D: Array) -> Array:
    """Off by a wave of half a percent."""
    return LAW.loss(N, D) * (1 + 0.005 * np.sin(np.log(N) / 2) * np.cos(np.log(D) / 3))


FOUR = (1e18, 3e18, 1e19, 3e19)


def spread(low: float, high: float, number: int) -> tuple[float, ...]:
    return tuple(np.geomspace(low, high, number).tolist())


@dataclass(frozen=True)
class FixedWorld:
    loss: Loss = LAW.loss
    budgets: tuple[float, ...] = FOUR
    sizes: int = 7
    within: tuple[float, float] = (0.25, 4)
    """Smallest and largest size over the best."""
    noise: float | Callable[[float], float] = 0.002
    """Share of the loss, or FLOPs -> share."""
    heavy_tails: bool = False
    """Student's t with two degrees of freedom."""
    outliers: tuple[float, float] = (0.0, 0.0)
    """Share of the runs that are too high, and by which share of the loss."""
    drift: float = 0.0
    """Share by which the loss is too high a decade of size from the middle, as by untuned rates."""


HELD = {
    "base": FixedWorld(),
    "noise .1 %": FixedWorld(noise=0.001),
    "noise .5 %": FixedWorld(noise=0.005),
    "noise 1 %": FixedWorld(noise=0.01),
    "noise 2 %": FixedWorld(noise=0.02),
    "noise 3 %, 5 sizes": FixedWorld(noise=0.03, sizes=5),
    "noiseless": FixedWorld(noise=0.0),
    "noise grows down": FixedWorld(noise=lambda C: 0.002 * (1e19 / C) ** 0.5),
    "heavy tails": FixedWorld(heavy_tails=True),
    "10 % of runs 5 % high": FixedWorld(outliers=(0.1, 0.05)),
    "10 % of runs 1 % high": FixedWorld(outliers=(0.1, 0.01)),
    "20 % of runs 3 % high": FixedWorld(outliers=(0.2, 0.03)),
    "E = 0": FixedWorld(loss=ChinchillaLaw(0.0, 480.0, 2100.0, 0.35, 0.37).loss),
    "E = 0, exponents .2": FixedWorld(loss=ChinchillaLaw(0.0, 30.0, 60.0, 0.2, 0.2).loss),
    "alpha .5, beta .28": FixedWorld(loss=ChinchillaLaw(1.8, 4000.0, 400.0, 0.5, 0.28).loss),
    "alpha .25, beta .45": FixedWorld(loss=ChinchillaLaw(1.8, 90.0, 9000.0, 0.25, 0.45).loss),
    "2 budgets": FixedWorld(budgets=(1e18, 1e19)),
    "3 budgets": FixedWorld(budgets=FOUR[:3]),
    "3 budgets, noise 1 %": FixedWorld(budgets=FOUR[:3], noise=0.01),
    "3 budgets, decades": FixedWorld(budgets=(1e17, 1e18, 1e19)),
    "budgets within x3.4": FixedWorld(budgets=(1e18, 1.5e18, 2.2e18, 3.4e18)),
    "7 budgets, 4 decades": FixedWorld(budgets=spread(1e16, 1e20, 7)),
    "6 budgets, 11 sizes": FixedWorld(budgets=(1e17, 3e17, *FOUR), sizes=11),
    "5 sizes": FixedWorld(sizes=5),
    "sizes within x/÷2": FixedWorld(within=(0.5, 2)),
    "large sizes only": FixedWorld(within=(1.2, 10)),
    "small sizes only": FixedWorld(within=(0.1, 0.8)),
    "tiny models": FixedWorld(
        loss=ChinchillaLaw(1.5, 20.0, 40.0, 0.35, 0.37).loss,
        budgets=spread(1e9, 1e11, 5),
        noise=0.004,
    ),
}
"""Worlds where a law of the family holds."""
BROKEN = {
    "bent law": FixedWorld(loss=bent),
    "bent, 7 budgets": FixedWorld(loss=bent, budgets=spread(1e16, 1e22, 7)),
    "smooth bend": FixedWorld(loss=smoothly_bent),
    "smooth bend, 7 budgets": FixedWorld(loss=smoothly_bent, budgets=spread(1e16, 1e22, 7)),
    "small models worse": FixedWorld(loss=small_models_worse, budgets=(1e16, 1e17, 1e18, 1e19)),
    "small worse, 7 budgets": FixedWorld(loss=small_models_worse, budgets=spread(1e15, 1e21, 7)),
    "small worse, its tail": FixedWorld(loss=small_models_worse, budgets=(1e17, 1e18, 1e19, 1e20)),
    "interacting terms": FixedWorld(loss=interacting),
    "ripple": FixedWorld(loss=rippled),
    "untuned rates": FixedWorld(drift=0.004),
}
"""Worlds where none does."""


def simulated(world: FixedWorld, seed: int) -> Sweep:
    random = np.random.default_rng(seed)
    middle = optimum(world.loss, math.sqrt(world.budgets[0] * world.budgets[-1]))[0]
    runs = []
    for C in world.budgets:
        for N in np.exp(optimum(world.loss, C)[0]) * np.geomspace(*world.within, world.sizes):
            away = world.drift * np.log10(N / math.exp(middle)) ** 2
            loss = float(world.loss(N, C / 6 / N)) * math.exp(_error(world, C, random) + away)
            runs.append(a_run(float(N), float(C / 6 / N), loss, C, budget=C))
    truths = {each: truth(world.loss, each * world.budgets[-1]) for each in DISTANCES}
    return Sweep(runs, truths)


def _error(world: FixedWorld, C: float, random: np.random.Generator) -> float:
    if world.heavy_tails:
        error = 0.002 * random.standard_t(2)
    else:
        size = world.noise(C) if callable(world.noise) else world.noise
        error = size * random.standard_normal()
    share, height = world.outliers
    return error + (height if share and random.random() < share else 0.0)


def truth(loss: Loss, C: float) -> Truth:
    best, lowest = optimum(loss, C)
    step = 0.05
    slope = (
        (optimum(loss, C * math.exp(-step))[1] - optimum(loss, C * math.exp(step))[1]) / 2 / step
    )

    def wasted(log_N: float) -> float:
        N = math.exp(log_N)
        return 1 - math.exp(-max(float(loss(N, C / 6 / N)) - lowest, 0.0) / slope)

    return Truth(C, best, math.log(lowest), wasted)


@functools.cache
def optimum(loss: Loss, C: float) -> tuple[float, float]:
    """Log N of the lowest loss at C FLOPs, and that loss."""
    grid = np.linspace(math.log(1e2), math.log(1e14), 2001)
    losses = loss(np.exp(grid), C / 6 / np.exp(grid))
    best = int(np.argmin(losses))
    found = minimize_scalar(
        lambda x: float(loss(np.exp(x), C / 6 / np.exp(x))),
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x), float(found.fun)
