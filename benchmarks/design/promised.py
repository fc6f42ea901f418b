"""Precision that plans promise against that of their sweeps' answers, on nine public sweeps.

    ISOFLOP_DATA=<folder of the tables> python benchmarks/design/promised.py

The largest budget of each sweep is the target, the runs below it are the plan. Promised is the
half-width of the 90 % interval of N_opt and the waste that `Sweep.forecast` gives before any of
them is made, or when those below the median budget or below the largest one are known. Told is what
isoflop's default fit of all of them gives. No loss enters a promise with nothing known, but the
noise, the misfit and the law that are held to be usual are about the medians of these nine sweeps,
in the last table.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from replay import Replay, replays

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from tables import markdown, write

from isoflop.display.format import format_number, format_percent
from isoflop.fitting.kriging.approach import Kriging
from isoflop.fitting.screening.screen import screen
from isoflop.planning.forecast import Forecast, Simulation
from isoflop.planning.sequential import NUM_DRAWS, Known, known_of
from isoflop.runs import Run


def told(replay: Replay) -> Known:
    known = known_of(replay.pool, replay.ladder, replay.target)
    assert known is not None
    return known


def promised(replay: Replay, known: Sequence[Run]) -> Forecast:
    specs = [run.spec for run in replay.pool if run not in known]
    expected = Simulation(replay.target, replay.ladder, tuple(known)).forecast(specs)
    assert isinstance(expected, Forecast)
    return expected


def parts(replay: Replay) -> list[list[Run]]:
    """No run, those below the median budget, those below the largest budget."""
    budgets = sorted({run.spec.budget or 0 for run in replay.pool})
    cuts = (0, budgets[len(budgets) // 2], budgets[-1])
    return [[run for run in replay.pool if (run.spec.budget or 0) < cut] for cut in cuts]


def usual(replay: Replay) -> list[float]:
    """Noise, misfit, length, share of the loss that falls, alpha and beta that kriging finds."""
    draws = (
        Kriging().posterior(screen(replay.pool).points).draw(NUM_DRAWS, np.random.default_rng(0))
    )
    surfaces = draws.given_surfaces
    length = np.array([guess.length for guess in surfaces.covariances.hypotheses])[
        surfaces.hypothesis
    ]
    middle = (float(np.median(values)) for values in (draws.alpha, draws.beta))
    return [*draws.errors, float(np.mean(length)), surfaces.covariances.reducible, *middle]


def factors(promises: Sequence[Forecast], known: Known) -> list[float]:
    """Of each promise's half-width over the one that was told, in logs of N."""
    return [math.log(one.factor) / math.log(known.factor(one.level)) for one in promises]


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    sweeps = list(replays())
    with np.errstate(all="ignore"):  # draws without an answer are NaN or infinite
        ends = [told(replay) for replay in sweeps]
        promises = [[promised(replay, part) for part in parts(replay)] for replay in sweeps]
    ratios = np.array([factors(one, known) for one, known in zip(promises, ends, strict=True)])
    names = ["nothing", "below the median budget", "all but the largest budget"]
    within = [
        [name, *(f"{value:.2f}" for value in np.quantile(column, [0, 0.5, 1]))]
        for name, column in zip(names, ratios.T, strict=True)
    ]
    each = [
        [
            replay.name,
            len(replay.pool),
            *map(shown, one),
            f"x/÷{known.factor(0.9):.2f}, {format_percent(known.waste)}",
        ]
        for replay, one, known in zip(sweeps, promises, ends, strict=True)
    ]
    found = np.array([usual(replay) for replay in sweeps])
    rows = [
        [name, *(format_number(value, 2) for value in values)]
        for name, values in [
            *zip([replay.name for replay in sweeps], found, strict=True),
            ("median", np.median(found, axis=0)),
        ]
    ]
    write(
        "design-promised.md",
        "What plans promise against what their sweeps tell",
        "python benchmarks/design/promised.py",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        "## Promised half-width over the one told, in log N",
        markdown(["runs known", "least", "median", "most"], within),
        "## Each sweep: half-width and waste",
        markdown(["sweep", "runs", *(f"promised, {name} known" for name in names), "told"], each),
        "## What kriging finds",
        markdown(["sweep", "noise", "misfit", "length", "falling share", "alpha", "beta"], rows),
    )


def shown(expected: Forecast) -> str:
    return f"x/÷{expected.factor:.2f}, {format_percent(expected.waste)}"


if __name__ == "__main__":
    main()
