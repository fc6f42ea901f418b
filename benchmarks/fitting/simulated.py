"""Simulated sweeps: how sharp and how honest is each approach where the truth is known?

    python benchmarks/fitting/simulated.py [--sweeps 40] [--seeds 20]

Drawn worlds (`drawn_worlds.py`; 40 runs each):

clean     the law is right; noise .2 % or 1 % of the loss
mild      log(L - E) is off by a Gaussian process over (log N, log D), length 1.8: .24 % of the
          loss; noise .2 %
strong    the same with .6 % and noise .3 %
coupled   the two terms are added in a power mean, and small models are worse; noise .2 %
spoilt    clean, noise .2 %, and the loss of 3 of the 40 runs is 5 % too high

Fixed worlds (`fixed_worlds.py`): one law each, four budgets of seven sizes and .2 % of noise unless
the name says otherwise. Targets are 10 and 100 times the largest budget.
"""

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import drawn_worlds
import fixed_worlds
import numpy as np
import oracle
import simulated_tables
from fixed_worlds import DISTANCES, Sweep
from methods import APPROACHES, forecast_of
from scores import Score, score
from tables import markdown, write

from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.outliers import find_outliers
from isoflop.laws.points import Points

RESAMPLES = 400
AGAINST = {
    "misfit",
    "break",
    "changes-with-scale",
    "approaches-disagree",
    "waves",
    "outlier",
    "one-run-decides",
    "correlated-residuals",
    "path-misses-minima",
    "no-irreducible-loss",
}
"""Codes of the notes that speak against a law; flat budgets and an unknown floor only add doubt."""


@dataclass(frozen=True)
class Outcome:
    """One fit of one sweep, at each distance."""

    N: dict[int, Score]
    loss: dict[int, Score]
    told: dict[int, float]
    real: dict[int, float]
    """Waste of the answered size."""
    is_noted: bool
    """Whether a note speaks against the law."""


def outcome(sweep: Sweep, approach: Approach | None) -> Outcome | None:
    """What an approach makes of a sweep; None where it refuses."""
    try:
        found = fit(sweep.runs, approach, resamples=RESAMPLES)
    except DataError:
        return None
    with np.errstate(all="ignore"):
        at = {each: forecast_of(found, truth.flops) for each, truth in sweep.truths.items()}
    truths = sweep.truths
    return Outcome(
        N={each: score(said.log_N, truths[each].log_N) for each, said in at.items()},
        loss={each: score(said.log_loss, truths[each].log_loss) for each, said in at.items()},
        told={each: said.waste for each, said in at.items()},
        real={each: truths[each].wasted(said.log_size) for each, said in at.items()},
        is_noted=any(getattr(note, "code", "") in AGAINST for note in found.notes),
    )


Made = Callable[[int], Sweep]
"""The sweep of a seed."""


def drawn(world: drawn_worlds.World) -> Made:
    return lambda seed: drawn_worlds.simulated(world, np.random.default_rng((1, seed)))


def fixed(world: fixed_worlds.FixedWorld) -> Made:
    return lambda seed: fixed_worlds.simulated(world, seed)


def outcomes(made: Made, number: int) -> dict[str, list[Outcome | None]]:
    """Approach -> what it makes of so many sweeps."""
    sweeps = [made(seed) for seed in range(number)]
    return {
        name: [outcome(sweep, approach) for sweep in sweeps]
        for name, approach in APPROACHES.items()
    }


def oracles(found: dict[str, dict[str, list[Outcome | None]]], number: int) -> str:
    """Widths over those of who knows the misfit's size and length and the noise."""
    rows = []
    for name, world in drawn_worlds.WORLDS.items():
        if world.coupling or world.spoilt:
            continue
        known = [_oracle(world, seed) for seed in range(number)]
        for each in DISTANCES:
            half = 1.645 * np.array([one[each] for one in known])
            widths = [
                [one.N[each].half_width if one else math.nan for one in found[name][approach]]
                for approach in APPROACHES
            ]
            ratios = [f"{np.nanmedian(np.array(width) / half):.2f}" for width in widths]
            rows.append([name, f"{each}x", f"x/÷{math.exp(np.median(half)):.3f}", *ratios])
    return markdown(["world", "beyond", "oracle's interval", *APPROACHES], rows)


def _oracle(world: drawn_worlds.World, seed: int) -> dict[int, float]:
    random = np.random.default_rng((1, seed))
    law = drawn_worlds.drawn_law(random)
    return oracle.deviations(law, world, drawn_worlds.of_law(law, world, random))


def spoilt_found(number: int) -> str:
    rows = []
    for name, world in drawn_worlds.WORLDS.items():
        sweeps = [drawn(world)(seed) for seed in range(number)]
        named = [set(np.flatnonzero(find_outliers(Points.of(one.runs))).tolist()) for one in sweeps]
        right = sum(len(each & one.spoilt) for each, one in zip(named, sweeps, strict=True))
        wrong = sum(len(each - one.spoilt) for each, one in zip(named, sweeps, strict=True))
        there = world.spoilt * number
        rows.append([name, there, right, wrong, 40 * number - there])
    return markdown(["world", "spoilt runs", "named", "good runs named", "good runs"], rows)


def everywhere(
    worlds: Iterable[tuple[str, Made]], number: int
) -> dict[str, dict[str, list[Outcome | None]]]:
    found = {}
    for name, made in worlds:
        found[name] = outcomes(made, number)
        print(name, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    in_drawn = everywhere(
        ((name, drawn(world)) for name, world in drawn_worlds.WORLDS.items()), given.sweeps
    )
    held, broken = (
        everywhere(((name, fixed(world)) for name, world in worlds.items()), given.seeds)
        for worlds in (fixed_worlds.HELD, fixed_worlds.BROKEN)
    )
    write(
        "fitting-simulated.md",
        "Simulated recovery and coverage",
        f"python benchmarks/fitting/simulated.py --sweeps {given.sweeps} --seeds {given.seeds}",
        "```\n" + __doc__.split("\n\n", 2)[2].strip() + "\n```",
        simulated_tables.LEGEND,
        f"**Drawn worlds**, {given.sweeps} sweeps each:",
        simulated_tables.table(in_drawn),
        "**Interval of log N over that of an oracle** which knows the misfit's size and length and "
        "the noise (`oracle.py`; medians):",
        oracles(in_drawn, given.sweeps),
        f"**Fixed worlds where a law of the family holds**, {given.seeds} sweeps each:",
        simulated_tables.table(held),
        f"**Fixed worlds where none does**, {given.seeds} sweeps each:",
        simulated_tables.table(broken),
        "**Runs that Kriging names as spoilt:**",
        spoilt_found(given.sweeps),
    )


if __name__ == "__main__":
    main()
