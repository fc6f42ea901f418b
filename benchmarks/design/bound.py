"""The waste that no method avoids: fits that know their worlds, on limited runs.

    OMP_NUM_THREADS=1 python benchmarks/design/bound.py [--repetitions 200] [--workers 2]

isoflop       the runs of isoflop.plan(target=, spend=), answered by isoflop's default fit
              (design-simulated.md)
knows errors  the same runs in the same worlds, answered by a fit that knows the size of the noise
              and the size and length of the misfit, and of the law as little as isoflop's does
knows all     the same, by a fit that also knows how the laws are drawn: only the losses are news to
              it
best runs     what the fit that knows all would waste after its 30 most informative runs, to first
              order: within the limits of isoflop's design (no run below 1/300 of the largest,
              tokens per param within ÷10 and x32 of the best), and without limits (1/100,000 and
              x/÷120), where laws of real models do not hold

No tool knows that much, so that none wastes less after runs within the limits.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import worlds
from scipy.optimize import least_squares
from simulated import gathered, sequential, tail
from worlds import KINDS, LENGTH, TARGET, Kind, World, law_through

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from tables import markdown, write

from isoflop.display.format import format_percent
from isoflop.laws.base import Array
from isoflop.planning.sequential import CAP, CAP_RUNS, LEVELS, NUM_SIZES, RATIO_REACH, SPAN
from isoflop.runs import Run

SPENDS = {0.35: (1.037, 3), 0.06: (0.29959, 5), 0.02: (0.099863, 5)}
"""Share of the target's FLOPs that a sweep spends: (that of the grid to equal, their ratio)."""
NUM_RUNS = 30
VAGUE = np.array([1.0, 2.0, 1.0, 0.17, 0.17])
"""Standard deviations of a law's numbers where little is known.

Those of the exponents are half of them, as in isoflop's fit.
"""
NO_LIMITS = (1e5, (120.0, 120.0))
NUM_TRIED = 2001
"""Sizes among which a fit looks for its best one."""


def middle_of(kind: Kind) -> tuple[Array, Array]:
    """Mean and standard deviation of the numbers of a kind's laws.

    They are E, log best N, reducible loss, alpha and beta.
    """
    uniform = [
        (np.mean(ends), np.ptp(ends) / math.sqrt(12)) for ends in (worlds.FLOORS, worlds.REDUCIBLE)
    ]
    exponents = [(exponent, worlds.WIDTH) for exponent in kind.exponents]
    rows = [uniform[0], (math.log(worlds.GUESS), worlds.GUESS_WIDTH), uniform[1], *exponents]
    mean, width = np.array(rows, dtype=float).T
    return mean, width


def log_loss(numbers: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Log of a law's loss at places (log N, log D), and what of the loss is reducible there."""
    E, log_best, R, alpha, beta = numbers
    law = law_through(E, math.exp(log_best), R, alpha, beta)
    reducible = law.A * np.exp(-alpha * x) + law.B * np.exp(-beta * y)
    return np.log(E + reducible), reducible / (E + reducible)


def kernel(x: Array, y: Array, other_x: Array, other_y: Array) -> Array:
    """Correlation of the misfit between places."""
    return np.asarray(
        np.exp(-0.5 * ((x[:, None] - other_x) ** 2 + (y[:, None] - other_y) ** 2) / LENGTH**2)
    )


# -- the perfect fits ------------------------------------------------------------------------------


def perfect(world: World, runs: Sequence[Run], *, knows_all: bool) -> float:
    """N of the optimum at the target by a fit that knows the errors of its world.

    knows_all: it also knows how the laws are drawn.
    """
    x, y = np.log([(run.num_params, run.num_tokens) for run in runs]).T
    loss = np.log([run.loss for run in runs])
    mean, width = middle_of(world.kind)
    width = width if knows_all else VAGUE
    numbers, smooth = mean, world.size**2 * kernel(x, y, x, y)

    def covariance() -> Array:
        share = log_loss(numbers, x, y)[1]
        return np.asarray(np.outer(share, share) * smooth + world.kind.noise**2 * np.eye(len(x)))

    def away(numbers: Array, whitener: Array) -> Array:
        return np.concatenate(
            [whitener @ (loss - log_loss(numbers, x, y)[0]), (numbers - mean) / width]
        )

    for _ in range(3):  # the misfit counts as the loss is reducible, which the numbers say
        whitener = np.linalg.inv(np.linalg.cholesky(covariance()))
        numbers = least_squares(away, numbers, x_scale=width, method="lm", args=(whitener,)).x
    middle, share = log_loss(numbers, x, y)
    left = share * np.linalg.solve(covariance(), loss - middle)
    at_x = numbers[1] + np.linspace(-1.5, 1.5, NUM_TRIED)
    at_y = math.log(TARGET / 6) - at_x
    misfit = world.size**2 * kernel(at_x, at_y, x, y) @ left
    law, reducible = log_loss(numbers, at_x, at_y)
    return math.exp(at_x[np.argmin(np.exp(law) * (1 + reducible * np.expm1(misfit)))])


def wasted(case: tuple[str, float, int]) -> tuple[float, float]:
    """Waste of both perfect fits in one world of a kind, after isoflop's own runs there."""
    kind, spend, seed = case
    with np.errstate(all="ignore"):
        world = World.drawn(kind, seed)
        runs = sequential(world, spend * TARGET, 1.0)
        errors, everything = (
            world.waste(perfect(world, runs, knows_all=known)) for known in (False, True)
        )
        return errors, everything


# -- the best runs ---------------------------------------------------------------------------------


def least_waste(kind: Kind, spend: float, span: float, reach: tuple[float, float]) -> float:
    """Waste that nine of ten perfect fits stay below after the most informative runs.

    In the kind's middle world.
    """
    mean, _ = middle_of(kind)
    x, y = candidates(mean, spend, span, reach)
    joint = joint_covariance(kind, x, y)
    flops, left = 6 * np.exp(x + y), spend
    for remaining in range(NUM_RUNS, 0, -1):
        gain = joint[0, 1:] ** 2 / (np.diag(joint)[1:] + kind.noise**2)
        gain[flops > min(CAP, CAP_RUNS / remaining) * left] = 0
        best = int(np.argmax(gain))
        column = joint[:, best + 1]
        joint = joint - np.outer(column, column) / (column[best + 1] + kind.noise**2)
        left -= flops[best]
    # To second order half (alpha + beta) times the square of the log error, which is normal:
    # 1.645 deviations.
    return 1 - math.exp(-0.5 * (mean[3] + mean[4]) * 1.645**2 * joint[0, 0])


def candidates(
    mean: Array, spend: float, span: float, reach: tuple[float, float]
) -> tuple[Array, Array]:
    """Log N and log D of what may be trained."""
    alpha, beta = mean[3:]
    levels = np.log(CAP * spend / 6) - math.log(LEVELS) * np.arange(
        0, math.log(span) / math.log(LEVELS)
    )
    best = mean[1] + beta / (alpha + beta) * (levels - math.log(TARGET / 6))
    away = np.linspace(-0.5 * math.log(reach[1]), 0.5 * math.log(reach[0]), NUM_SIZES)
    x = best[:, None] + away
    return x.ravel(), (levels[:, None] - x).ravel()


def joint_covariance(kind: Kind, x: Array, y: Array) -> Array:
    """Prior covariance of log N_opt at the target (first) and of the runs' noiseless log losses."""
    mean, width = middle_of(kind)
    best, (alpha, beta) = mean[1], mean[3:]
    share = log_loss(mean, x, y)[1]
    size = kind.misfit * (mean[2] + mean[0]) / mean[2]
    step = 1e-4
    slopes = [
        (log_loss(mean + move, x, y)[0] - log_loss(mean - move, x, y)[0]) / (2 * step)
        for move in step * np.eye(len(mean))
    ]
    of_best = np.eye(len(mean))[:, 1:2]  # the best N at the target is one of the numbers
    columns = np.concatenate([of_best, np.array(slopes)], axis=1) * width[:, None]
    joint = columns.T @ columns
    at = np.array([best]), np.array([math.log(TARGET / 6) - best])
    toward = kernel(*at, x, y)[0] * ((x - at[0]) - (y - at[1])) / LENGTH**2
    joint[0, 0] += 2 * (size / LENGTH / (alpha * beta)) ** 2
    joint[0, 1:] -= size**2 * share * toward / (alpha * beta)
    joint[1:, 0] = joint[0, 1:]
    joint[1:, 1:] += size**2 * np.outer(share, share) * kernel(x, y, x, y)
    return np.asarray(joint)


# -- tables ----------------------------------------------------------------------------------------


def rows(repetitions: int, workers: int) -> list[list[str]]:
    found, lines = gathered(), []
    with ProcessPoolExecutor(workers) as pool:
        for kind in ("mild", "strong"):
            for spend, (grid, fewer) in SPENDS.items():
                perfects = list(
                    pool.map(
                        wasted, [(kind, spend, seed) for seed in range(repetitions)], chunksize=4
                    )
                )
                least = partial(least_waste, KINDS[kind], spend * TARGET)
                wastes = [
                    tail(found[kind, "grid + Approach 3", f"{grid:.5g}", "1"]),
                    tail(found[kind, "sequential", f"{spend:.5g}", "1"]),
                    *np.quantile(perfects, 0.9, axis=0).tolist(),
                    least(SPAN, RATIO_REACH),
                    least(*NO_LIMITS),
                ]
                lines.append(
                    [kind, f"{spend}", f"{fewer}x", *(format_percent(waste) for waste in wastes)]
                )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    head = [
        "world",
        "spend",
        "grid's spend",
        "grid + Approach 3",
        "isoflop",
        "knows errors",
        "knows all",
    ]
    write(
        "design-bound.md",
        "What an answer must waste, however it is found",
        f"python benchmarks/design/bound.py --repetitions {given.repetitions}",
        "```\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n```",
        "Waste that nine of ten sweeps stay below. Spends are shares of the target's FLOPs; the "
        "grid has 3x as many where the target lies 13x beyond its largest run, and 5x as many at "
        "45x and 135x.",
        markdown([*head, "best runs", "no limits"], rows(given.repetitions, given.workers)),
    )


if __name__ == "__main__":
    main()
