"""Replay of isoflop's design on nine public sweeps: a tenth of the FLOPs against all of them.

    ISOFLOP_DATA=<folder of the tables> python benchmarks/design/replay.py [--starts 20]

The largest budget of each sweep is held out; the pool is every run below it. Truth is the minimum
of the held-out budget's own parabola (`benchmarks/fitting/windows.py`).

design      three sizes of each of the two cheapest budgets, from the middle of their sizes and
            moved at random; then, in the stages of isoflop.plan(target=, spend=), the runs of the
            pool that tell most of the optimum at the held-out budget, until a tenth of the pool's
            FLOPs is spent; isoflop's default fit
lean        five sizes within x/÷4 of the running estimate of each of up to four budgets, each about
            three times the one before, as isoflop.plan(..., design="lean") chooses them, from the
            largest budget for which a tenth pays; isoflop's default fit
random      runs of the pool in random order, until as much is spent; isoflop's default fit
whole pool  every run of the pool, by Approach 3 and by isoflop's default fit
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from tables import TEXT_SWEEPS, markdown, published, write
from windows import measured

from isoflop.display.format import format_percent
from isoflop.errors import DataError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.screening.screen import screen
from isoflop.laws.cost import cost_for
from isoflop.laws.points import Points
from isoflop.planning.candidates import Ladder, Place
from isoflop.planning.lean import LEAN_BUDGETS, LEAN_FACTORS, LEAN_RATIO, recentred
from isoflop.planning.sequential import (
    CAP,
    ENDS,
    NUM_PLACES,
    RATIO_REACH,
    SPAN,
    Known,
    greedy,
    known_of,
    run_value_of,
)
from isoflop.runs import Run

SHARE = 0.1
NUM_PILOT = 3


@dataclass(frozen=True, eq=False)
class Replay:
    """A public sweep with its largest budget held out."""

    name: str
    pool: tuple[Run, ...]
    target: float
    log_N: float
    """Of the minimum that was measured at the target."""

    @property
    def spend(self) -> float:
        return SHARE * cost(self.pool)

    @property
    def budgets(self) -> list[float]:
        return sorted({run.spec.budget or 0 for run in self.pool})

    def at(self, budget: float) -> list[Run]:
        """The runs of a budget, by params."""
        rows = [run for run in self.pool if run.spec.budget == budget]
        return sorted(rows, key=lambda run: run.num_params)

    @property
    def ladder(self) -> Ladder:
        N = sorted({run.num_params for run in self.pool})
        per_token = [
            np.mean([run.flops / run.num_tokens for run in self.pool if run.num_params == one])
            for one in N
        ]
        return Ladder(np.array(N, float), np.array(per_token, float))


def replays() -> Iterator[Replay]:
    for name, file in TEXT_SWEEPS.items():
        points = Points.of([run for run in published(file) if run.spec.budget is not None])
        top = max(points.budgets)
        held_out = points.pick(points.budget == top)
        target = float(np.exp(np.log(held_out.C).mean()))
        yield Replay(
            name, tuple(points.pick(points.budget < top).runs), target, measured(held_out)[0]
        )


def cost(runs: Sequence[Run]) -> float:
    return sum(run.flops for run in runs)


def error(replay: Replay, runs: Sequence[Run], approach: object) -> float:
    """|log N| of predicted over measured; infinite where there is no law."""
    try:
        law = approach.solve(screen(runs).points).law  # type: ignore[attr-defined]
    except DataError:
        return math.inf
    N = float(law.optimum(replay.target, cost_for(law, runs))[0])
    return abs(math.log(N) - replay.log_N) if N > 0 else math.inf  # NaN, too


# -- choosing --------------------------------------------------------------------------------------


def designed(replay: Replay, random: np.random.Generator) -> list[Run]:
    """The pilot, and the stages after it as far as the spend goes."""
    runs = pilot(replay, random)
    for end, number in [*zip(ENDS, NUM_PLACES, strict=True)][2:]:
        runs += stage(replay, runs, end * replay.spend - cost(runs), number)
    return runs


def pilot(replay: Replay, random: np.random.Generator) -> list[Run]:
    """Three sizes of each of the two cheapest budgets.

    They are one or two apart, around the middle and up to two beside it.
    """
    chosen: list[Run] = []
    for budget in replay.budgets[:2]:
        rows = replay.at(budget)
        apart = random.integers(1, 3)
        middle = len(rows) // 2 + random.integers(-2, 3) + apart * np.arange(-1, 2)
        chosen += [rows[k] for k in sorted(set(np.clip(middle, 0, len(rows) - 1).tolist()))]
    return chosen


def stage(replay: Replay, runs: Sequence[Run], left: float, number: int) -> list[Run]:
    """Runs of the pool that would tell most of the optimum at the target, given those made."""
    known = known_of(runs, replay.ladder, replay.target)
    affordable = [run for run in replay.pool if run not in runs and run.flops <= CAP * left]
    if known is None:
        return more_of_the_cheapest(affordable, left)
    near = [run for run in affordable if is_near(run, known, runs, left)]
    if not near:
        return []
    places = [Place(run.num_params, run.num_tokens, run.flops) for run in near]
    chosen, _ = greedy(run_value_of(known, runs, places), places, left, number)
    made = {id(place) for place in chosen}
    return [run for run, place in zip(near, places, strict=True) if id(place) in made]


def is_near(run: Run, known: Known, runs: Sequence[Run], left: float) -> bool:
    """Whether isoflop.plan would consider it: near the optimum of its compute, and no tiny run."""
    best = float(known.law.optimum(run.flops, known.cost)[0])
    largest = max(CAP * left, *(one.flops for one in runs))
    fewer, more = np.sqrt(RATIO_REACH)
    return bool(best / more <= run.num_params <= best * fewer) and run.flops * SPAN >= largest


def more_of_the_cheapest(runs: Sequence[Run], left: float) -> list[Run]:
    """Where the pilot's runs determine no law: three runs more, the cheapest."""
    chosen = sorted(runs, key=lambda run: run.flops)[:NUM_PILOT]
    return chosen if cost(chosen) <= left else []


def lean(replay: Replay, random: np.random.Generator) -> list[Run]:
    """A lean sweep up to the largest budget for which the spend pays; empty where none is."""
    shift = int(random.integers(-2, 3))
    for top in sorted(replay.budgets, reverse=True):
        runs = lean_up_to(replay, top, shift)
        if cost(runs) <= replay.spend:
            return runs
    return []


def lean_up_to(replay: Replay, top: float, shift: int) -> list[Run]:
    """Valleys of budgets about three times apart; the first is off the middle by `shift` sizes."""
    chosen = [top]
    while len(chosen) < LEAN_BUDGETS:
        lower = [one for one in replay.budgets if one < chosen[-1] / math.sqrt(LEAN_RATIO)]
        if not lower:
            break
        chosen.append(min(lower, key=lambda one: abs(math.log(one * LEAN_RATIO / chosen[-1]))))
    runs: list[Run] = []
    for budget in reversed(chosen):
        rows = replay.at(budget)
        last = [run for run in runs if run.spec.budget == runs[-1].spec.budget]
        middle = rows[int(np.clip(len(rows) // 2 + shift, 0, len(rows) - 1))].num_params
        centre = (recentred(last, budget) if last else None) or middle
        wanted = centre * np.array(LEAN_FACTORS)
        near = [min(rows, key=lambda run: abs(math.log(run.num_params / one))) for one in wanted]
        runs += {run.id: run for run in near}.values()
    return runs


def at_random(replay: Replay, random: np.random.Generator) -> list[Run]:
    """Runs in random order, without those that what is left does not pay for."""
    chosen: list[Run] = []
    for k in random.permutation(len(replay.pool)):
        if cost(chosen) + replay.pool[k].flops <= replay.spend:
            chosen.append(replay.pool[k])
    return chosen


# -- tables ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """What each start chose, and its error; for the whole pool, one number for each approach."""

    replay: Replay
    spent: np.ndarray
    num_runs: np.ndarray
    designed: np.ndarray
    lean_spent: np.ndarray
    lean: np.ndarray
    random: np.ndarray
    approach_3: float
    default: float


def outcome(replay: Replay, starts: int) -> Outcome:
    seeds = [np.random.default_rng([seed, len(replay.pool)]) for seed in range(starts)]
    sets = [designed(replay, random) for random in seeds]
    valleys = [lean(replay, random) for random in seeds]
    off = partial(error, replay)
    found = Outcome(
        replay,
        np.array([cost(runs) / cost(replay.pool) for runs in sets]),
        np.array([len(runs) for runs in sets]),
        np.array([off(runs, Bayesian()) for runs in sets]),
        np.array([cost(runs) / cost(replay.pool) for runs in valleys]),
        np.array([off(runs, Bayesian()) for runs in valleys]),
        np.array([off(at_random(replay, random), Bayesian()) for random in seeds]),
        off(replay.pool, Parametric()),
        off(replay.pool, Bayesian()),
    )
    print(*row(found), sep="  ", flush=True)
    return found


def quantiles(errors: np.ndarray) -> list[str]:
    # an error that occurred: none lies between a number and infinity
    found = np.quantile(errors, [0.5, 0.9], method="inverted_cdf")
    return ["no law" if math.isinf(error) else f"{error:.3f}" for error in found]


def row(found: Outcome) -> list[object]:
    chosen = f"{np.median(found.num_runs):.0f} of {len(found.replay.pool)}"
    pool = f"{found.approach_3:.3f}", f"{found.default:.3f}"
    return [
        found.replay.name,
        format_percent(found.spent.mean()),
        chosen,
        *quantiles(found.designed),
        format_percent(found.lean_spent.mean()),
        *quantiles(found.lean),
        *quantiles(found.random),
        *pool,
    ]


def all_sweeps(found: Sequence[Outcome]) -> str:
    errors = {
        "design, a tenth of the FLOPs": np.concatenate([one.designed for one in found]),
        "lean, at most a tenth of the FLOPs": np.concatenate([one.lean for one in found]),
        "random, a tenth of the FLOPs": np.concatenate([one.random for one in found]),
        "whole pool, Approach 3": np.array([one.approach_3 for one in found]),
        "whole pool, default fit": np.array([one.default for one in found]),
    }
    lines = [
        [name, len(values), *quantiles(values), int(np.sum(~np.isfinite(values)))]
        for name, values in errors.items()
    ]
    return markdown(["runs", "cases", "median log N error", "p90", "no law"], lines)


def reading(found: Sequence[Outcome]) -> str:
    """In how many sweeps a tenth of the FLOPs does as well as all of them with Approach 3."""
    medians = [np.median(one.designed) <= one.approach_3 for one in found]
    tails = [np.quantile(one.designed, 0.9) <= one.approach_3 for one in found]
    return (
        f"The design's median error is no larger than the whole pool's with Approach 3 in "
        f"{sum(medians)} of {len(found)} sweeps, and its p90 in {sum(tails)}. Publishers put their "
        "sizes around the optimum, so that a pilot from the middle of them starts near it, as one "
        "around a guess may not. Nine sweeps are few: the p90 of the whole pool is set by the two "
        "largest of nine."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=20)
    given = parser.parse_args()
    with np.errstate(all="ignore"):  # draws without an answer are NaN or infinite
        found = [outcome(replay, given.starts) for replay in replays()]
    head = [
        "sweep",
        "FLOPs spent",
        "runs chosen",
        "design median",
        "design p90",
        "FLOPs of lean",
        "lean median",
        "lean p90",
        "random median",
        "random p90",
    ]
    write(
        "design-replay.md",
        "Replay of the design on public sweeps",
        f"python benchmarks/design/replay.py --starts {given.starts}",
        (__doc__ or "").split("\n\n", 2)[2].split("\n\n")[0],
        "```\n" + (__doc__ or "").split("\n\n")[-1].strip() + "\n```",
        "Errors are absolute differences of log N at the held-out budget, over "
        f"{given.starts} starts of each sweep.",
        "## All sweeps",
        all_sweeps(found),
        reading(found),
        "## Each sweep",
        markdown([*head, "pool, Approach 3", "pool, default fit"], [row(one) for one in found]),
    )


if __name__ == "__main__":
    main()
