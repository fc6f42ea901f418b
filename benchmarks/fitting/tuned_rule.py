"""How near a tuned rule comes to the best learning rates of larger models, on grids of Step Law.

    ISOFLOP_DATA=<folder of the tables> python benchmarks/fitting/tuned_rule.py

As `tune` does, rules are fitted to four cells (two of the four smallest sizes, on two token counts)
with five rates each, a factor of two apart, around those of a first rule. The first rule is that of
Step Law with level and exponents moved at random (standard deviations of .7 and .2). Noise of a
seed is added to the losses. The rule is then compared with the best rate of each cell of at least
twice the params. `vertices`: a power law through the parabolas of the cells (`fit_rule`);
`posteriors`: through each cell's best rate with its doubt (`fit_noisy_rule`), which `tune` uses;
`more seeds`: the same with three seeds in each cell whose best one seed leaves unsure, as `tune`
trains them where its allowance pays for them.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tables

from isoflop.fitting.noisy_rule import Tried, TriedCell, fit_noisy_rule
from isoflop.fitting.setting_rule import Vertex, fit_rule, fit_vertex
from isoflop.recipe import PowerRule
from isoflop.training.tuning import SURE
from isoflop.training.tuning_search import FACTORS

COMMAND = "python benchmarks/fitting/tuned_rule.py"
STEP_LAW = PowerRule(1.79, num_params=-0.713, num_tokens=0.307)
MIDDLE = (2e8, 1e10)
NEAR = 0.3
"""Log distance of a tried rate from the nearest one in the grid, at most."""
LEAST_RATES, LEAST_TRIED = 6, 3
NOISES, TRIES, SEEDS = ((0.0, 0.0), (0.005, 0.0), (0.02, 0.0), (0.01, 1.0)), 400, 3
"""Noise of a seed with the log standard deviation from cell to cell; sets of cells; seeds."""
SMALL_SIZES = 4

At = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """The (rate, loss) pairs of a cell at its best batch, and the best rate."""

    tried: tuple[tuple[float, float], ...]
    vertex: Vertex

    def near(self, rates: list[float]) -> list[tuple[float, float]]:
        """The pairs nearest to some rates."""
        nearest = [min(self.tried, key=lambda one: abs(math.log(one[0] / lr))) for lr in rates]
        pairs = zip(rates, nearest, strict=True)
        return sorted({one for lr, one in pairs if abs(math.log(one[0] / lr)) < NEAR})


def grids() -> Mapping[At, Grid]:
    """The cells whose best rate at their best batch lies inside the rates tried."""
    found = {}
    rows = defaultdict(list)
    for row in csv.DictReader((tables.data_folder() / "steplaw_all.csv").read_text().splitlines()):
        if row["split"] == "train":
            rows[float(row["params"]), float(row["tokens"])].append(row)
    for at, cell in rows.items():
        best = min(cell, key=lambda row: float(row["loss"]))
        losses: dict[float, float] = {}
        for row in cell:
            if row["bsz"] == best["bsz"]:
                lr, loss = float(row["lr"]), float(row["loss"])
                losses[lr] = min(loss, losses.get(lr, math.inf))
        vertex = fit_vertex([*losses], [*losses.values()])
        if vertex.inside and len(losses) >= LEAST_RATES:
            found[at] = Grid(tuple(sorted(losses.items())), vertex)
    return found


def square(known: Mapping[At, Grid], rng: np.random.Generator) -> list[At]:
    """Two small sizes on two token counts that both have; empty where they share too few."""
    small = sorted({N for N, _ in known})[:SMALL_SIZES]
    sizes = sorted(rng.choice(small, 2, replace=False).tolist())
    shared = sorted({D for _, D in known if all((N, D) in known for N in sizes)})
    if len(shared) < 2:
        return []
    first = int(rng.integers(len(shared) - 1))
    second = min(len(shared) - 1, first + 1 + int(rng.integers(2)))
    return [(N, D) for N in sizes for D in (shared[first], shared[second])]


def first_rule(rng: np.random.Generator) -> PowerRule:
    b, c = rng.normal((STEP_LAW.num_params, STEP_LAW.num_tokens), 0.2)
    level = STEP_LAW(*MIDDLE) * rng.lognormal(0, 0.7)
    return PowerRule(
        level / PowerRule(1.0, num_params=b, num_tokens=c)(*MIDDLE), num_params=b, num_tokens=c
    )


def errors(known: Mapping[At, Grid], noise: float, spread: float) -> np.ndarray:
    """Log errors of the four rules, and the doubts of the last two."""
    rng, of_cells = np.random.default_rng(0), np.random.default_rng(1)
    rows = []
    for _ in range(TRIES):
        places, own = square(known, rng), first_rule(rng)
        tried = [known[at].near([factor * own(*at) for factor in FACTORS]) for at in places]
        if not places or min(map(len, tried)) < LEAST_TRIED:
            continue
        prior = (own.num_params, own.num_tokens)
        noises = noise * of_cells.lognormal(0, spread, len(places))
        seeds = [
            [with_noise(*each, rng) for each in zip(places, tried, noises, strict=True)]
            for _ in range(SEEDS)
        ]
        parabolas = [fit_vertex(*list(zip(*cell.tried, strict=True))[:2]) for cell in seeds[0]]
        vertices = fit_rule(places, parabolas, prior)
        posteriors = fit_noisy_rule(seeds[0], own, prior)
        cells = [
            one if best.deviation <= SURE else together(every)
            for one, best, every in zip(
                seeds[0], posteriors.best, zip(*seeds, strict=True), strict=True
            )
        ]
        more = fit_noisy_rule(cells, own, prior).law
        for at, grid in known.items():
            if at[0] >= 2 * places[-1][0]:
                rules = (own, vertices.rule, posteriors.law.rule, more.rule)
                away = [math.log(rule(*at) / grid.vertex.value) for rule in rules]
                rows.append([*away, posteriors.law.deviation(*at), more.deviation(*at)])
    return np.array(rows)


def with_noise(
    at: At, tried: Sequence[tuple[float, float]], noise: float, rng: np.random.Generator
) -> TriedCell:
    """A cell with the noise of one seed."""
    return TriedCell(*at, [Tried(lr, loss * rng.lognormal(0, noise)) for lr, loss in tried])


def together(cells: Sequence[TriedCell]) -> TriedCell:
    """One cell of several seeds."""
    tried = [one._replace(seed=k) for k, cell in enumerate(cells) for one in cell.tried]
    return cells[0]._replace(tried=tried)


def row_of(known: Mapping[At, Grid], noise: float, spread: float) -> list[str]:
    found = errors(known, noise, spread)
    away, doubts = np.abs(found[:, :4]), found[:, 4:]
    rms = np.sqrt(np.mean(away**2, axis=0))
    within = np.mean(away < math.log(2), axis=0)
    scores = np.sqrt(np.mean((away[:, 2:] / doubts) ** 2, axis=0))
    pairs = [f"{one:.2f} ({share:.0%})" for one, share in zip(rms, within, strict=True)]
    name = f"{noise:.1%}" + (f" ×/÷ {math.exp(spread):.1f}" if spread else "")
    return [name, str(len(found)), *pairs, *(f"{score:.2f}" for score in scores)]


def main() -> None:
    known = grids()
    columns = ["noise", "cells", "first rule", "vertices", "posteriors", "more seeds"]
    columns += ["error over doubt, rms", "... of more seeds"]
    rows = [row_of(known, *noise) for noise in NOISES]
    text = (
        "Root mean square error of the log rate at sizes of at least twice the params, and the "
        f"share within a factor of two; {len(known)} cells of Step Law (arXiv 2503.04715), "
        f"{TRIES} sets of four. The noise of the last row differs between cells by this factor, to "
        "a standard deviation.\n\n" + tables.markdown(columns, rows)
    )
    tables.write("fitting-tuned-rule.md", "Tuned rules of the learning rate", COMMAND, text)


if __name__ == "__main__":
    main()
