"""Held-out budgets of nine public sweeps: how far is each approach off budgets that it has not seen?

For every budget that has at least four below it, every law of the smaller budgets (up to 17 times smaller) predicts the
best N and the loss there. Measured is the minimum of the budget's own parabola (runs within x/÷4 of its best), which is
itself uncertain by 2 to 10 % in N.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tables import SWEEPS, markdown, published, write

from isoflop.errors import DataError
from isoflop.fitting.costs import cost_for
from isoflop.fitting.isoflop import IsoFLOP, Valley, valleys
from isoflop.fitting.kriging import Kriging
from isoflop.fitting.parametric import Parametric
from isoflop.fitting.points import Points
from isoflop.fitting.uncertainty import resampled_law

APPROACHES = {
    "Kriging()": Kriging(),
    "Parametric()": Parametric(),
    "Parametric(delta=inf)": Parametric(delta=math.inf),
    "IsoFLOP()": IsoFLOP(),
}
FARTHEST = 17.0
LEAST_BUDGETS = 4


@dataclass(frozen=True)
class Case:
    """One budget to be predicted from the runs below it."""

    sweep: str
    seen: Points
    valley: Valley
    ratio: float
    next: bool
    """Whether the largest seen budget is the one below."""
    largest: bool
    """Whether it is the sweep's largest budget."""


@dataclass(frozen=True)
class Score:
    case: Case
    log_N: float
    """Log of predicted over measured N."""
    loss: float
    """Predicted over measured loss, minus 1."""
    covered: bool
    width: float
    """Half the 90 % interval of log N."""


def cases() -> Iterator[Case]:
    for name, file in SWEEPS.items():
        runs = published(file)
        points = Points.of(runs)
        curves = [valley for valley in valleys(runs) if len(valley.runs) >= 4]
        for top, target in enumerate(curves):
            for last in range(top):
                enough = last >= LEAST_BUDGETS - 1 or top == len(curves) - 1 == last + 1
                if not target.interior or not enough or target.budget > FARTHEST * curves[last].budget:
                    continue
                seen = points.pick(points.C < 1.3 * curves[last].budget)
                ratio = target.budget / curves[last].budget
                yield Case(name, seen, target, ratio, last == top - 1, top == len(curves) - 1)


def score(case: Case, approach: object) -> Score:
    solved = approach.solve(case.seen)
    cost, C = cost_for(solved.law, case.seen.runs), case.valley.flops
    N, loss = solved.law.optimum(C, cost)[0], solved.law.optimal_loss(C, cost)
    drawn = np.log(resampled_law(solved, case.seen, 400, 0).optimum(C, cost)[0])
    low, high = np.nanquantile(drawn, [0.05, 0.95])
    truth = math.log(case.valley.num_params)
    return Score(case, math.log(N) - truth, loss / case.valley.loss - 1, low <= truth <= high, (high - low) / 2)


GROUPS: dict[str, Callable[[Case], bool]] = {
    "largest budget from the others": lambda case: case.largest and case.next,
    "next budget": lambda case: case.next,
    "3x beyond": lambda case: 2.4 < case.ratio < 4.2,
    "10x beyond": lambda case: case.ratio > 7.9,
}


def row(group: str, name: str, scores: list[Score]) -> list[object]:
    N, loss = (np.abs([getattr(one, field) for one in scores]) for field in ("log_N", "loss"))
    percent = [np.median(N), np.quantile(N, 0.9), np.median(loss), np.quantile(loss, 0.9)]
    return [
        group,
        name,
        len(scores),
        *(f"{100 * value:.2g} %" for value in percent),
        f"{np.mean([one.covered for one in scores]):.2f}",
        f"x/÷{math.exp(np.median([one.width for one in scores])):.2f}",
    ]


def main() -> None:
    everything = list(cases())
    found: dict[str, list[Score]] = {}
    for name, approach in APPROACHES.items():
        found[name] = []
        for case in everything:
            try:
                found[name].append(score(case, approach))
            except DataError as refusal:
                print(name, case.sweep, refusal)
    head = ["predicted", "approach", "cases", "N median", "N 9 of 10", "loss median", "loss 9 of 10", "covered", "interval"]
    rows = [
        row(group, name, [one for one in scores if belongs(one.case)])
        for group, belongs in GROUPS.items()
        for name, scores in found.items()
    ]
    largest = [one for one in found["Kriging()"] if GROUPS["largest budget from the others"](one.case)]
    single = [[one.case.sweep, f"{100 * one.log_N:+.1f} %", f"{100 * one.loss:+.2f} %"] for one in largest]
    write(
        "fitting-held-out.md",
        "Held-out budgets of public sweeps",
        "python benchmarks/fitting/held_out.py",
        __doc__.split("\n\n", 1)[1].strip(),
        "Errors of N are absolute differences of logs; `covered` is the share of 90 % intervals of N that hold the "
        "measured minimum, `interval` their median half-width.",
        markdown(head, rows),
        "Kriging on the largest budget of each sweep:",
        markdown(["sweep", "N", "loss"], single),
    )


if __name__ == "__main__":
    main()
