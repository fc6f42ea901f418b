"""Simulated sweeps: waste at the target against what the sweep costs, by how its runs are chosen.

    OMP_NUM_THREADS=1 python benchmarks/design/simulated.py [--repetitions 60]
        [--workers 2] [--table]

grid        six budgets three times apart, nine sizes within x/÷4 of a guess (20 tokens per param),
            answered by Approach 2 or Approach 3
lean        four budgets three times apart, five sizes within x/÷4 of the running estimate;
            isoflop's default fit
sequential  what isoflop.plan(target=, spend=) chooses, stage by stage, until the spend is used;
            isoflop's default fit
stopped     the same, finished early where the next stage is not worth its cost, as isoflop does

Every world, method and spend is drawn with the same seeds. Results are kept as they come, in
benchmarks/results/design-simulated.csv, and a second call goes on where the first was stopped.
"""

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import worlds
from worlds import KINDS, TARGET, World

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from tables import RESULTS, markdown, write

from isoflop.display.format import format_percent
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.screening.screen import screen
from isoflop.fitting.uncertainty import resampled_law
from isoflop.laws.waste import expected_waste
from isoflop.planning.candidates import Ladder, Stage
from isoflop.planning.lean import lean_stage
from isoflop.planning.sequential import next_stage
from isoflop.runs import Run

FILE = RESULTS / "design-simulated.csv"
COLUMNS = (
    "world",
    "method",
    "spend",
    "off",
    "seed",
    "error",
    "waste",
    "predicted",
    "covered",
    "used",
    "runs",
)
GRID_BUDGETS, GRID_SIZES = 3.0 ** -np.arange(6), 9
BEYOND = (13, 45, 135)
"""FLOPs of the target in times those of the grid's largest budget."""
N = 1e5 * 1.03 ** np.arange(520)
LADDER = Ladder(N, 6 * N)


def grid(world: World, spend: float, off: float) -> list[Run]:
    top = spend / (GRID_SIZES * GRID_BUDGETS.sum())
    return [run for C in top * GRID_BUDGETS for run in budget(world, C, guess(C, off), GRID_SIZES)]


def lean(world: World, spend: float, off: float) -> list[Run]:
    return staged(
        world, lambda runs: lean_stage(runs, LADDER, spend=spend, tokens_per_param=20 / off**2)
    )


def sequential(world: World, spend: float, off: float, *, stop: bool = False) -> list[Run]:
    ask = {"target": TARGET, "spend": spend, "tokens_per_param": 20 / off**2, "stop": stop}
    return staged(world, lambda runs: next_stage(runs, LADDER, **ask))


def stopped(world: World, spend: float, off: float) -> list[Run]:
    return sequential(world, spend, off, stop=True)


def staged(world: World, ask: Callable[[list[Run]], Stage]) -> list[Run]:
    runs: list[Run] = []
    while not (stage := ask(runs)).finished:
        runs += [
            world.run(place.num_params, place.num_tokens, place.budget) for place in stage.places
        ]
    return runs


def budget(world: World, C: float, centre: float, number: int) -> list[Run]:
    return [world.run(n, C / 6 / n, C) for n in (centre * np.geomspace(0.25, 4, number)).tolist()]


def guess(C: float, off: float) -> float:
    """N at 20 tokens per param, times `off`."""
    return off * math.sqrt(C / 6 / 20)


METHODS: dict[str, tuple[Callable[[World, float, float], list[Run]], object]] = {
    "grid + Approach 2": (grid, IsoFLOP()),
    "grid + Approach 3": (grid, Parametric()),
    "lean": (lean, Bayesian()),
    "sequential": (sequential, Bayesian()),
    "stopped": (stopped, Bayesian()),
}


def outcome(method: str, world: World, spend: float, off: float) -> tuple[float, ...]:
    """|log N error|, waste, predicted waste, N covered, FLOPs used, number of runs."""
    make, approach = METHODS[method]
    runs = make(world, spend, off)
    used = sum(run.flops for run in runs)
    try:
        points = screen(runs).points
        solved = approach.solve(points)  # type: ignore[attr-defined]
        draws = resampled_law(solved, points, 300, 0, "auto")
    except DataError:
        return math.nan, 1.0, math.nan, 0.0, used, len(runs)
    best = float(solved.law.optimum(TARGET)[0])
    sizes = draws.optimum(TARGET)[0]
    truth = world.optimum()
    predicted = float(expected_waste(solved.law, draws, best, TARGET))
    covered = np.nanquantile(sizes, 0.05) <= truth <= np.nanquantile(sizes, 0.95)
    waste = world.waste(best) if math.isfinite(best) else 1.0
    return abs(math.log(best / truth)), waste, predicted, float(covered), used, len(runs)


GRIDS = [GRID_SIZES * float(GRID_BUDGETS.sum()) / beyond for beyond in BEYOND]
SPENDS = {
    "grid + Approach 2": GRIDS,
    "grid + Approach 3": GRIDS,
    "lean": [0.1, 0.03, 0.01],
    "sequential": [1.0, 0.35, 0.15, 0.06, 0.02, 0.006],
    "stopped": [0.03, 0.01],
}
OFFS = {"grid + Approach 3": GRIDS, "sequential": [0.35, 0.06, 0.02]}


def cases() -> Iterator[tuple[str, str, float, float]]:
    """World, method, spend as a share of the target, factor by which the guess of N is off."""
    for world in KINDS:
        for method, spends in SPENDS.items():
            yield from ((world, method, spend, 1.0) for spend in spends)
    for world in ("mild", "strong"):
        for off in (0.1, 1 / 3, 3.0, 10.0):
            for method, spends in OFFS.items():
                yield from ((world, method, spend, off) for spend in spends)


def read() -> list[dict[str, str]]:
    if not FILE.exists():
        return []
    with FILE.open() as lines:
        return list(csv.DictReader(lines))


def simulate(repetitions: int, workers: int) -> None:
    done = {(row["world"], row["method"], row["spend"], row["off"], row["seed"]) for row in read()}
    wanted = [
        (*case, seed)
        for seed in range(repetitions)
        for case in cases()
        if key(*case, seed) not in done
    ]
    with FILE.open("a", newline="") as lines, ProcessPoolExecutor(workers) as pool:
        table = csv.writer(lines)
        if not done:
            table.writerow(COLUMNS)
        for row in pool.map(simulated, wanted):
            table.writerow(row)
            lines.flush()


def key(world: str, method: str, spend: float, off: float, seed: int) -> tuple[str, ...]:
    return world, method, f"{spend:.5g}", f"{off:.3g}", str(seed)


def simulated(case: tuple[str, str, float, float, int]) -> list[str]:
    world, method, spend, off, seed = case
    with np.errstate(all="ignore"):
        found = outcome(method, World.drawn(world, seed), spend * TARGET, off)
    return [*key(*case), *(f"{value:.5g}" for value in found)]


# -- tables ----------------------------------------------------------------------------------------


Cases = dict[tuple[str, str, str, str], np.ndarray]


def gathered() -> Cases:
    """Rows (error, waste, predicted, covered, used, runs) of each world, method, spend and off."""
    found: dict[tuple[str, str, str, str], list[list[float]]] = {}
    for row in read():
        key = (row["world"], row["method"], row["spend"], row["off"])
        found.setdefault(key, []).append([float(row[name]) for name in COLUMNS[5:]])
    return {key: np.array(rows) for key, rows in found.items()}


def tail(rows: np.ndarray) -> float:
    """Waste that nine of ten sweeps stay below."""
    return float(np.quantile(rows[:, 1], 0.9))


def equal_spend(found: Cases, world: str, off: str, waste: float) -> str:
    """Least FLOPs, as a share of the target's, at which sequential sweeps waste no more.

    Interpolated along lines in the logs.
    """
    points = sorted(
        (float(rows[:, 4].mean()) / TARGET, tail(rows))
        for (name, method, _, how), rows in found.items()
        if (name, method, how) == (world, "sequential", off)
    )
    spends, wastes = np.log(np.array(points)).T
    wastes = np.minimum.accumulate(wastes)
    if math.log(waste) >= wastes[0]:
        return f"< {math.exp(spends[0]):.2g}"
    if math.log(waste) < wastes[-1]:
        return f"> {math.exp(spends[-1]):.2g}"
    return f"{math.exp(np.interp(-math.log(waste), -wastes, spends)):.2g}"


def ratio(grid_spend: float, equal: str) -> str:
    sign = {"<": "> ", ">": "< "}.get(equal[0], "")
    return f"{sign}{grid_spend / float(equal.lstrip('<> ')):.1f}x"


def equal_waste(found: Cases) -> str:
    rows = []
    for (world, method, spend, off), outcomes in sorted(found.items()):
        if method == "grid + Approach 3":
            beyond = round(GRID_SIZES * float(GRID_BUDGETS.sum()) / float(spend))
            equal = equal_spend(found, world, off, tail(outcomes))
            row = [
                world,
                off,
                f"{beyond}x",
                spend,
                format_percent(tail(outcomes)),
                equal,
                ratio(float(spend), equal),
            ]
            rows.append((list(KINDS).index(world), float(off), beyond, row))
    head = [
        "world",
        "guess of N off by",
        "target beyond the grid's largest run",
        "grid's spend",
        "p90 waste",
    ]
    return markdown(
        [*head, "sequential spend at that waste", "fewer FLOPs"], [row for *_, row in sorted(rows)]
    )


def all_cases(found: Cases) -> str:
    lines = []
    for (world, method, spend, off), rows in found.items():
        _, waste, predicted, covered, used, runs = np.nanmean(rows, axis=0)
        errors = f"{np.nanmedian(rows[:, 0]):.3f}", f"{np.nanquantile(rows[:, 0], 0.9):.3f}"
        wastes = format_percent(waste), format_percent(tail(rows)), format_percent(predicted)
        lines.append(
            [
                world,
                method,
                off,
                spend,
                f"{used / TARGET:.3g}",
                f"{runs:.0f}",
                *errors,
                *wastes,
                f"{covered:.2f}",
            ]
        )
    head = [
        "world",
        "method",
        "off",
        "spend",
        "used",
        "runs",
        "log N median",
        "9 of 10",
        "waste",
        "p90",
        "predicted",
    ]
    return markdown([*head, "N covered"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--table", action="store_true", help="only write the tables of what has been simulated"
    )
    given = parser.parse_args()
    if not given.table:
        simulate(given.repetitions, given.workers)
    found = gathered()
    least = min(len(rows) for rows in found.values())
    write(
        "design-simulated.md",
        "Waste at the target against what a sweep costs, simulated",
        f"python benchmarks/design/simulated.py --repetitions {least}",
        "```\n" + (__doc__ or "").split("\n\n", 2)[2].strip() + "\n```",
        "Worlds (`benchmarks/design/worlds.py`):\n\n```\n"
        + (worlds.__doc__ or "").split("\n\n", 1)[1].strip()
        + "\n```",
        f"At least {least} repetitions of each case. Spends are shares of the target's FLOPs; "
        "waste is the share of the target's compute that the recommended size loses; p90 is what "
        "nine of ten sweeps stay below.",
        "## FLOPs at equal p90 waste: sequential against grid + Approach 3",
        equal_waste(found),
        "## All cases",
        all_cases(found),
    )


if __name__ == "__main__":
    main()
