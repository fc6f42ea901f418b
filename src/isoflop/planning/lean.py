"""Stages that need no law: the pilot's two budgets, its repair, and the lean IsoFLOP sweep.

N params, D tokens, L loss.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.planning.candidates import Ladder, Place, Stage
from isoflop.planning.earlier_runs import paid, usable
from isoflop.runs import Run

__all__ = ["LEAN_LARGEST_SHARE", "lean_stage", "pilot", "recentred", "repair"]

PILOT_FACTORS = ((0.25, 1.0, 4.0), (1 / 3, 1.0, 3.0))
"""Sizes of the pilot's budgets around the guess, wide while it is only a guess."""
REPAIR_FACTORS = (0.6, 1.7, 2.5)
"""Sizes tried again around the best where the pilot's runs cannot determine a law."""
LEAN_BUDGETS, LEAN_RATIO, LEAN_SIZES, LEAN_SPREAD = 4, 3.0, 5, 4.0
LEAN_FACTORS = np.geomspace(1 / LEAN_SPREAD, LEAN_SPREAD, LEAN_SIZES).tolist()
"""Sizes of a lean sweep's budget around its centre."""
ROUNDING = 0.03
"""Relative difference of a budget from the planned one up to which it is kept as planned: runs are
of whole batches, and learning rates are checked for a few percent of the spend."""
LEAN_LARGEST_SHARE = LEAN_RATIO ** (LEAN_BUDGETS - 1) / (
    LEAN_SIZES * sum(LEAN_RATIO**step for step in range(LEAN_BUDGETS))
)
"""Share of the spend that the largest run of a lean sweep takes."""


def pilot(
    number: int, runs: Sequence[Run], ladder: Ladder, budget: float, tokens_per_param: float
) -> Stage:
    """Three sizes of the first (number 0) or second pilot budget, centred by the runs so far."""
    vertex = recentred(runs, budget) if number else None
    centre = vertex or ladder.guess(budget, tokens_per_param)
    return around(
        ladder,
        centre,
        budget,
        PILOT_FACTORS[number],
        "the pilot, recentred" if vertex else "the pilot",
    )


def around(
    ladder: Ladder, centre: float, budget: float, factors: Sequence[float], name: str
) -> Stage:
    """One place for each factor on a budget's centre, without those that lack data.

    Factors that lead to the same real size give one place.
    """
    wanted = {
        place.num_params: place
        for place in (ladder.near(centre * factor, budget) for factor in factors)
    }
    fed = [place for place in wanted.values() if place.num_tokens <= ladder.most_tokens]
    places = tuple(Place(place.num_params, place.num_tokens, place.flops, budget) for place in fed)
    return Stage(places, name, lacking=len(wanted) - len(fed))


def recentred(runs: Sequence[Run], budget: float) -> float | None:
    """N of the optimum at a budget, scaled from one budget's runs: the vertex of their parabola.

    If the best run is at the edge, the vertex lies at most a factor of two beyond it. None for
    fewer than two sizes.
    """
    sizes = sorted({run.num_params for run in runs})
    if len(sizes) < 2:
        return None
    x = np.log(sizes)
    loss = np.array(
        [np.mean([math.log(run.loss) for run in runs if run.num_params == N]) for N in sizes]
    )
    best = int(np.argmin(loss))
    inside = 0 < best < len(x) - 1
    # A valley is skewed: at its edge only the runs next to it show where it goes on.
    near = slice(None) if inside else slice(3) if best == 0 else slice(-3, None)
    beyond = 0.0 if inside else math.log(2)
    bend, slope = np.polyfit(x[near] - x[best], loss[near], 2)[:2] if len(x) >= 3 else (0.0, 0.0)
    if bend > 0:
        centre = float(np.clip(x[best] - slope / (2 * bend), x[0] - beyond, x[-1] + beyond))
    else:
        centre = float(x[best]) + math.copysign(beyond, float(x[best] - x.mean()))
    earlier = float(np.mean([run.flops for run in runs]))
    return math.exp(centre) * math.sqrt(budget / earlier)


def repair(runs: Sequence[Run], ladder: Ladder, left: float, number: int) -> Stage:
    """More sizes around the best, where the runs so far cannot determine a law."""
    if not runs:
        return Stage((), "no run completed, so that nothing is known of the optimum", finished=True)
    largest = max(run.flops for run in runs)
    budget = min(left / len(REPAIR_FACTORS), 3 * largest)
    centre = (
        recentred([run for run in runs if run.flops > 0.7 * largest], budget) or runs[-1].num_params
    )
    return around(
        ladder, centre, budget, REPAIR_FACTORS, f"stage {number + 1}: the pilot's law is open"
    )


def lean_stage(
    runs: Sequence[Run], ladder: Ladder, *, spend: float, tokens_per_param: float = TOKENS_PER_PARAM
) -> Stage:
    """The next budget of a lean IsoFLOP sweep.

    The sweep has four budgets, three times apart, of five sizes each, recentred each time. What the
    budgets so far have not spent is for those that follow.

    runs: all runs so far; a budget near which half as many runs were made is complete.
    """
    units = [sum(LEAN_RATIO**step for step in range(left)) for left in range(LEAN_BUDGETS, 0, -1)]
    last: list[Run] = []
    for number, unit in enumerate(units):
        planned = spend / (LEAN_SIZES * units[0]) * LEAN_RATIO**number
        own = [run for run in runs if _is_near(run, planned)]
        left = spend - sum(map(paid, runs)) + sum(map(paid, own))
        if left <= 0:
            return Stage((), "the spend is used", finished=True)
        budget = left / (LEAN_SIZES * unit)
        if abs(math.log(budget / planned)) < ROUNDING:
            budget = planned
        name = f"budget {number + 1} of {LEAN_BUDGETS} of a lean IsoFLOP sweep"
        centre = recentred(last, budget) or ladder.guess(budget, tokens_per_param)
        stage = _missing(around(ladder, centre, budget, LEAN_FACTORS, name), own)
        if (stage.places and len(own) < LEAN_SIZES / 2) or (stage.lacking and not own):
            return stage
        last = usable(own) or last
    return Stage((), "all four budgets of the lean sweep are trained", finished=True)


def _missing(stage: Stage, runs: Sequence[Run]) -> Stage:
    """A stage without the sizes of its budget that were trained."""
    trained = {run.num_params for run in runs}
    places = tuple(place for place in stage.places if place.num_params not in trained)
    return replace(stage, places=places)


def _is_near(run: Run, budget: float) -> bool:
    """Whether a run is of a planned budget: the spend that is left changes a little on the way."""
    own = run.budget or 0.0
    return own > 0 and abs(math.log(own / budget)) < math.log(LEAN_RATIO) / 2
