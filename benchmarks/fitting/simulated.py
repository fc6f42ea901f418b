"""Simulated sweeps: how near is each approach to the truth, and do its 90 % intervals hold it?

40 runs: five budgets from 1e18 to 1e20 FLOPs, eight sizes each within x/÷5 of a centre that is off
by x/÷1.28 (one standard deviation). Laws are drawn: alpha .34 +- .03, beta .37 +- .03, E 1.5 to 2,
about 20 tokens per param best.

clean     the law is right; noise .2 % or 1 % of the loss
mild      log(L - E) is off by a Gaussian process over (log N, log D), length 1.8: .24 % of the
          loss; noise .2 %
strong    the same with .6 % and noise .3 %
coupled   the two terms are added in a power mean, and small models are worse: no Gaussian process;
          noise .2 %
spoilt    clean, noise .2 %, and the loss of 3 of the 40 runs is 5 % too high
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from methods import APPROACHES
from tables import a_run, markdown, write

from isoflop import text
from isoflop.errors import DataError
from isoflop.fitting.laws import ChinchillaLaw
from isoflop.fitting.points import Array, Points
from isoflop.fitting.spoilt import find_spoilt
from isoflop.fitting.uncertainty import resampled_law
from isoflop.runs import Run

BUDGETS = np.geomspace(1e18, 1e20, 5)
TARGETS = (1e21, 1e22)
SPAN, SIZES, LENGTH = 5.0, 8, 1.8


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


@dataclass(frozen=True)
class Sweep:
    runs: list[Run]
    truth: dict[float, tuple[float, float]]
    """Target -> best N and the loss there."""
    spoilt: frozenset[int]


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
    R = size + data
    return R * np.exp(world.misfit / np.median(R / (R + law.E)) * process)


def simulated(world: World, random: np.random.Generator) -> Sweep:
    law = drawn_law(random)
    steps = np.linspace(-math.log(SPAN), math.log(SPAN), SIZES)
    sizes = [math.log(law.optimum(C)[0]) + random.normal(0, 0.25) + steps for C in BUDGETS]
    grids = [math.log(law.optimum(C)[0]) + np.linspace(-1.5, 1.5, 121) for C in TARGETS]
    x = np.concatenate([*sizes, *grids])
    C = np.concatenate([np.repeat(BUDGETS, SIZES), np.repeat(TARGETS, 121)])
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
    truth = {
        target: minimum(grid, loss[n + 121 * number :][:121])
        for number, (target, grid) in enumerate(zip(TARGETS, grids, strict=True))
    }
    return Sweep(runs, truth, spoilt)


def minimum(x: Array, loss: Array) -> tuple[float, float]:
    """exp(x) and the loss at the lowest point, by a parabola through it and its neighbours."""
    best = int(np.clip(np.argmin(loss), 1, len(x) - 2))
    bend, slope, _ = np.polyfit(x[best - 1 : best + 2] - x[best], loss[best - 1 : best + 2], 2)
    return math.exp(x[best] - slope / (2 * bend)), float(loss.min())


def errors(approach: object, sweep: Sweep, resamples: int) -> list[tuple[float, ...]]:
    """Per target: |log N error|, |loss error|, N covered, loss covered."""
    points = Points.of(sweep.runs)
    solved = approach.solve(points)
    draws = resampled_law(solved, points, resamples, 0)
    found = []
    for target, (N, loss) in sweep.truth.items():
        inside = [
            np.nanquantile(values, 0.05) <= true <= np.nanquantile(values, 0.95)
            for values, true in ((draws.optimum(target)[0], N), (draws.optimal_loss(target), loss))
        ]
        off = (
            abs(math.log(solved.law.optimum(target)[0] / N)),
            abs(solved.law.optimal_loss(target) / loss - 1),
        )
        found.append((*off, *(float(one) for one in inside)))
    return found


def scores(world: World, approach: object, sweeps: int, seed: int) -> tuple[Array, int]:
    """Shape (sweeps that could be fitted, targets, 4), and the number that were refused."""
    random = np.random.default_rng(seed)
    found, refused = [], 0
    for _ in range(sweeps):
        sweep = simulated(world, random)
        try:
            found.append(errors(approach, sweep, 300))
        except DataError:
            refused += 1
    return np.array(found), refused


def spoilt_found(sweeps: int, seed: int) -> str:
    counts: dict[str, list[int]] = {}
    for name, world in WORLDS.items():
        random = np.random.default_rng(seed)
        right = wrong = there = 0
        for _ in range(sweeps):
            sweep = simulated(world, random)
            named = set(np.flatnonzero(find_spoilt(Points.of(sweep.runs))).tolist())
            right, wrong, there = (
                right + len(named & sweep.spoilt),
                wrong + len(named - sweep.spoilt),
                there + world.spoilt,
            )
        counts[name] = [there, right, wrong, 40 * sweeps - there]
    return markdown(
        ["world", "spoilt runs", "named", "good runs named", "good runs"],
        [[k, *v] for k, v in counts.items()],
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    percent: Callable[[float], str] = text.percent
    rows = []
    for name, world in WORLDS.items():
        for label, approach in APPROACHES.items():
            found, refused = scores(world, approach, given.sweeps, given.seed)
            for number, target in enumerate(TARGETS):
                N, loss, N_in, loss_in = found[:, number].T
                rows.append(
                    [
                        name,
                        f"{target / BUDGETS[-1]:.0f}x",
                        label + (f" ({refused} refused)" if refused else ""),
                        percent(np.median(N)),
                        percent(np.quantile(N, 0.9)),
                        f"{N_in.mean():.2f}",
                        percent(np.median(loss)),
                        f"{loss_in.mean():.2f}",
                    ]
                )
    head = [
        "world",
        "beyond",
        "approach",
        "N median",
        "N 9 of 10",
        "N covered",
        "loss median",
        "loss covered",
    ]
    write(
        "fitting-simulated.md",
        "Simulated recovery and coverage",
        f"python benchmarks/fitting/simulated.py --sweeps {given.sweeps}",
        "```\n" + __doc__.split("\n\n", 1)[1].strip() + "\n```",
        f"{given.sweeps} sweeps a world; `covered` is the share of 90 % intervals that hold the "
        "truth.",
        markdown(head, rows),
        "Runs that Kriging names as spoilt:",
        spoilt_found(given.sweeps, given.seed),
    )


if __name__ == "__main__":
    main()
