"""The next runs of a sweep for a target: a pilot, recentred, then the most informative runs.

`next_stage` is a pure function of the runs so far, so that it also serves runs trained elsewhere.
It spends in stages, each planned on the results of those before; `planning/stage.py` turns its
places into specs. N params, D tokens, C FLOPs, L loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isoflop.display.format import format_count, format_flops, format_percent
from isoflop.errors import DataError
from isoflop.fitting.default import solve_points
from isoflop.fitting.kriging.run_value import Laws, RunValue, value_runs
from isoflop.fitting.screening.screen import screen
from isoflop.fitting.threads import one_blas_thread
from isoflop.fitting.uncertainty import resampled_law
from isoflop.laws.base import TOKENS_PER_PARAM, CostPerToken, Law
from isoflop.laws.points import Points
from isoflop.laws.waste import expected_waste
from isoflop.planning.candidates import Ladder, Place, Stage
from isoflop.planning.earlier_runs import paid, usable
from isoflop.planning.lean import pilot, repair
from isoflop.runs import Run

__all__ = [
    "CAP",
    "ENDS",
    "LARGEST_SHARE",
    "NUM_DRAWS",
    "NUM_PLACES",
    "RATIO_REACH",
    "SPAN",
    "Known",
    "greedy",
    "known_of",
    "next_stage",
    "run_value_of",
]

ENDS = (0.0075, 0.03, 0.15, 0.40, 1.0)
"""Share of the spend at which each stage ends.

Two pilot budgets of three sizes, then stages of .12, .25 and .60.
"""
NUM_PLACES = (3, 3, 6, 8, 10)
"""Runs of each stage."""
LARGEST_SHARE = 0.4
"""Share of the spend that the largest run takes: two thirds of the last stage."""
CAP, CAP_RUNS = 0.75, 6.6
"""A run costs at most min(CAP, CAP_RUNS / runs left) of what its stage has left."""
SPAN = 300.0
"""Largest ratio of FLOPs between two runs: much smaller models are often in another regime.

In simulated worlds (benchmarks/design) the error at the target falls by a seventh from 50 to 300,
and hardly from there to 1,000.
"""
RATIO_REACH = (10.0, 32.0)
"""Range of tokens per param around the optimum's at the run's compute: divided by, and times.

Laws hold up to 640 tokens per param (Gadre et al. 2024) but not for runs that are hardly trained:
in a replay of public sweeps (benchmarks/design) the p90 error of log N is .48 instead of .28 with
(16, 16).
"""
LEVELS = 1.6
"""Factor between the compute levels of candidates."""
NUM_SIZES = 13
"""Sizes of candidates at each level."""
NUM_LAWS, NUM_DRAWS = 8, 64
MIN_JUDGES = 10
"""Fewest runs after which a sweep may end early.

Six runs fix the law's five numbers almost without residuals, and their interval may be x/÷1.01
around an answer that is off by two.
"""


@dataclass(frozen=True, eq=False)
class Known:
    """The law of the runs so far, its draws, and the target that it is needed for."""

    law: Law
    draws: Law
    cost: CostPerToken
    target: float

    @cached_property
    def best(self) -> tuple[float, float]:
        N, D = self.law.optimum(self.target, self.cost)
        return float(N), float(D)

    @cached_property
    def waste(self) -> float:
        """Expected share of the target's compute that its recommendation wastes."""
        share = expected_waste(self.law, self.draws, self.best[0], self.target, self.cost)
        return float(share) if share is not None and np.isfinite(share) else 1.0

    def factor(self, level: float) -> float:
        """Half-width of the interval of N_opt at the target, as a factor.

        Infinite where no draw has an optimum.
        """
        sizes = np.asarray(self.draws.optimum(self.target, self.cost)[0], float)
        sizes = sizes[np.isfinite(sizes)]
        if not len(sizes):
            return math.inf
        low, high = np.quantile(sizes, [(1 - level) / 2, (1 + level) / 2])
        return math.sqrt(float(high / low))


@one_blas_thread
@np.errstate(all="ignore")  # draws without an answer are NaN or infinite
def next_stage(
    runs: Sequence[Run],
    ladder: Ladder,
    *,
    target: float,
    spend: float,
    tokens_per_param: float = TOKENS_PER_PARAM,
    stop: bool = True,
    seeds: int = 1,
) -> Stage:
    """The next runs of a sweep that looks for the best size at `target` FLOPs.

    runs: all runs so far; those that failed count with their FLOPs.
    spend: FLOPs of the whole sweep.
    tokens_per_param: guess of the optimum's before anything is known.
    seeds: number of seeds of each run; `runs` holds one of them, and `spend` is the share of one.

    The sweep is finished when the spend is used, or, with `stop`, when the next stage would cost
    more compute than the waste that it is predicted to remove at the target.
    """
    spent = sum(paid(run) for run in runs)
    number = _stage_number(spent / spend)
    if number == len(ENDS):
        return Stage((), f"{format_percent(spent / spend)} of the spend is used", finished=True)
    left = ENDS[number] * spend - spent
    trained = usable(runs)
    if number < 2:
        budget = (ENDS[number] - (0.0, *ENDS)[number]) * spend / 3
        return pilot(number, trained, ladder, budget, tokens_per_param)
    known = known_of(trained, ladder, target)
    if known is None:
        return repair(trained, ladder, left, number)
    return _chosen(known, trained, ladder, left, number, seeds if stop else None)


def _stage_number(share: float) -> int:
    """The first stage of which less than half is spent."""
    starts = (0.0, *ENDS[:-1])
    return next(
        (
            k
            for k, (start, end) in enumerate(zip(starts, ENDS, strict=True))
            if share < (start + end) / 2
        ),
        5,
    )


def known_of(runs: Sequence[Run], ladder: Ladder, target: float) -> Known | None:
    """The law of the runs, by the default approach, else by Approach 3.

    None where they determine no law.
    """
    try:
        points = screen(runs).points
        solved = solve_points(points).solved
    except DataError:
        return None
    draws = resampled_law(solved, points, NUM_DRAWS, 0, "auto")
    return Known(solved.law, draws, ladder.cost, target)


def _chosen(
    known: Known, runs: Sequence[Run], ladder: Ladder, left: float, number: int, seeds: int | None
) -> Stage:
    """The runs of a stage.

    seeds: number of seeds of each run; the stage is empty if they would cost more than they save.
        None plans the stage whatever it saves.
    """
    name = f"stage {number + 1} of {len(ENDS)}"
    candidates = _candidates(known, runs, ladder, left)
    if not candidates and _candidates(known, runs, replace(ladder, most_tokens=math.inf), left):
        most = format_count(ladder.most_tokens)
        return Stage(
            (),
            f"the data and the passes over them give {most} tokens, too few for {name}",
            finished=True,
        )
    if not candidates:
        return Stage(
            (),
            "no size that may be trained lies near the optimum at what is left to spend",
            finished=True,
        )
    value = run_value_of(known, runs, candidates)
    before = float(np.exp(np.mean(np.log(value.variance))))
    places, after = greedy(value, candidates, left, NUM_PLACES[number])
    if not places:
        return Stage(
            (), "what is left to spend pays for no run that would narrow the answer", finished=True
        )
    saved = known.waste * (1 - after / before) * known.target
    cost = (seeds or 1) * sum(place.flops for place in places)
    if seeds is not None and len(runs) >= MIN_JUDGES and saved < cost:
        reason = (
            f"{name} would cost {format_flops(cost)} FLOPs to save about "
            f"{format_flops(max(saved, 0))} FLOPs of the target"
        )
        return Stage((), reason, finished=True)
    return Stage(tuple(places), name)


def _candidates(known: Known, runs: Sequence[Run], ladder: Ladder, left: float) -> list[Place]:
    """Real sizes near the optimum of each affordable level of compute, the highest level first."""
    highest = CAP * left
    top = max(highest, max(run.flops for run in runs))
    levels = highest / LEVELS ** np.arange(
        0, math.log(highest * SPAN / top) / math.log(LEVELS) + 1e-9
    )
    trained = {(run.num_params, round(math.log(run.num_tokens), 1)) for run in runs}
    candidates = {}
    optima = np.asarray(known.law.optimum(levels, known.cost)[0], dtype=float)
    for level, best in zip(levels.tolist(), optima.tolist(), strict=True):
        largest, smallest = best * math.sqrt(RATIO_REACH[0]), best / math.sqrt(RATIO_REACH[1])
        for wanted in np.geomspace(smallest, largest, NUM_SIZES).tolist():
            place = ladder.near(wanted, level)
            key = (place.num_params, round(math.log(place.num_tokens), 1))
            near = smallest < place.num_params * 1.05 and place.num_params < 1.05 * largest
            if near and place.num_tokens <= ladder.most_tokens and key not in trained:
                candidates[key] = place
    return list(candidates.values())


def run_value_of(known: Known, runs: Sequence[Run], candidates: Sequence[Place]) -> RunValue:
    """How much runs at the candidates would narrow the optimum, given the law and its runs."""
    points = Points.of(runs)
    at = np.array([(place.num_params, place.num_tokens) for place in candidates]).T
    N, D = known.best
    return value_runs(Laws.of(known.draws, NUM_LAWS), (points.N, points.D), (at[0], at[1]), N * D)


def greedy(
    value: RunValue, candidates: Sequence[Place], left: float, number: int
) -> tuple[list[Place], float]:
    """Places chosen one after the other for the least mean log variance, and the variance after."""
    flops = np.array([place.flops for place in candidates])
    open_ = np.ones(len(candidates), dtype=bool)
    places: list[Place] = []
    for remaining in range(number, 0, -1):
        allowed = open_ & (flops <= min(CAP, CAP_RUNS / remaining) * left * (1 + 1e-9))
        if not allowed.any():
            break
        gain = np.where(allowed, np.mean(np.log(value.variance_after), axis=0), np.inf)
        best = int(np.argmin(gain))
        value, open_[best] = value.trained(best), False
        places.append(candidates[best])
        left -= candidates[best].flops
    return places, float(np.exp(np.mean(np.log(value.variance))))
