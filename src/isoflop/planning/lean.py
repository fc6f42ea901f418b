"""Stages that need no law: the pilot's two budgets, its repair, and the lean IsoFLOP sweep.

N params, D tokens, L loss.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.planning.candidates import Ladder, Place, Stage
from isoflop.runs import Run

__all__ = ["lean_stage", "pilot", "recentred", "repair", "usable"]

PILOT_FACTORS = ((0.25, 1.0, 4.0), (1 / 3, 1.0, 3.0))
"""Sizes of the pilot's budgets around the guess, wide while it is only a guess."""
REPAIR_FACTORS = (0.6, 1.7, 2.5)
"""Sizes tried again around the best where the pilot's runs cannot determine a law."""
LEAN_BUDGETS, LEAN_RATIO, LEAN_SIZES, LEAN_SPREAD = 4, 3.0, 5, 4.0


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

    The sweep has four budgets, three times apart, of five sizes each, recentred each time.

    runs: all runs so far; a budget that has any is complete.
    """
    top = spend / (LEAN_SIZES * sum(LEAN_RATIO**-k for k in range(LEAN_BUDGETS)))
    budgets = [top / LEAN_RATIO**k for k in reversed(range(LEAN_BUDGETS))]
    completed = [budget for budget in budgets if any(_is_at(run, budget) for run in runs)]
    if len(completed) == LEAN_BUDGETS:
        return Stage((), "all four budgets of the lean sweep are trained", finished=True)
    budget = budgets[len(completed)]
    last = [run for run in usable(runs) if completed and _is_at(run, completed[-1])]
    centre = recentred(last, budget) or ladder.guess(budget, tokens_per_param)
    factors = np.geomspace(1 / LEAN_SPREAD, LEAN_SPREAD, LEAN_SIZES).tolist()
    name = f"budget {len(completed) + 1} of {LEAN_BUDGETS} of a lean IsoFLOP sweep"
    return around(ladder, centre, budget, factors, name)


def usable(runs: Iterable[Run]) -> list[Run]:
    """The runs that completed with a loss."""
    return [run for run in runs if run.status == "completed" and math.isfinite(run.loss)]


def _is_at(run: Run, budget: float) -> bool:
    return math.isclose(run.budget or 0, budget, rel_tol=1e-6)
