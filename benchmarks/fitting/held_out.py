"""Held-out budgets of nine public sweeps: how far is each approach off budgets that it has not seen?

For every budget that has at least four below it, every law of the smaller budgets (up to 17 times smaller) predicts the
best N and the loss there. Measured is the minimum of a parabola through log loss over log N, runs within x/÷4 of the
parabola's own minimum and five at least; it is itself uncertain by 2 to 10 % in N. Budgets whose minimum is not
bracketed, or uncertain by more than 12 %, are left out.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tables import SWEEPS, markdown, published, write

from isoflop import text
from isoflop.errors import DataError
from isoflop.fitting.costs import cost_for
from isoflop.fitting.isoflop import IsoFLOP
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
MOST_DOUBT = 0.12


@dataclass(frozen=True)
class Case:
    """One budget to be predicted from the runs below it."""

    sweep: str
    seen: Points
    flops: float
    log_N: float
    """Measured."""
    loss: float
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
    loss_covered: bool
    width: float
    """Half the 90 % interval of log N."""


def cases() -> Iterator[Case]:
    for name, file in SWEEPS.items():
        points = Points.of(published(file))
        budgets = points.budgets
        for top, budget in enumerate(budgets):
            log_N, loss, doubt = measured(points.pick(points.budget == budget))
            if not doubt < MOST_DOUBT:
                continue
            for last, below in enumerate(budgets[:top]):
                enough = last >= LEAST_BUDGETS - 1 or len(budgets) == LEAST_BUDGETS == top + 1 == last + 2
                if enough and budget < FARTHEST * below:
                    seen = points.pick(np.less(points.C, 1.3 * below))
                    flops = float(np.exp(np.log(points.C[points.budget == budget]).mean()))
                    yield Case(name, seen, flops, log_N, loss, budget / below, last == top - 1, top == len(budgets) - 1)


def measured(points: Points) -> tuple[float, float, float]:
    """Log N and loss at a budget's minimum, and the standard error of log N; NaN where it is not bracketed."""
    x, y = np.log(points.N), np.log(points.L)
    centre = float(x[np.argmin(y)])
    for _ in range(4):
        near = np.argsort(np.abs(x - centre))[: max(int(np.sum(np.abs(x - centre) <= math.log(4))), 5)]
        basis = np.vander(x[near] - centre, 3)
        bend, slope, level = coefficients = np.linalg.lstsq(basis, y[near])[0]
        if bend <= 0:
            return math.nan, math.nan, math.nan
        step = -slope / (2 * bend)
        found, gradient = centre + step, np.array([slope / (2 * bend**2), -1 / (2 * bend), 0])
        centre += float(np.clip(step, -0.7, 0.7))
    rest = y[near] - basis @ coefficients
    variance = max(float(rest @ rest) / max(len(near) - 3, 1), 1e-6)
    doubt = math.sqrt(variance * float(gradient @ np.linalg.inv(basis.T @ basis) @ gradient))
    inside = x.min() < found < x.max()
    return float(found), math.exp(level + slope * step / 2), doubt if inside else math.nan


def score(case: Case, approach: object) -> Score:
    solved = approach.solve(case.seen)
    cost, C = cost_for(solved.law, case.seen.runs), case.flops
    N, loss = solved.law.optimum(C, cost)[0], solved.law.optimal_loss(C, cost)
    draws = resampled_law(solved, case.seen, 400, 0)
    low, high = np.nanquantile(np.log(draws.optimum(C, cost)[0]), [0.05, 0.95])
    least, most = np.nanquantile(draws.optimal_loss(C, cost), [0.05, 0.95])
    return Score(
        case,
        math.log(N) - case.log_N,
        loss / case.loss - 1,
        low <= case.log_N <= high,
        least <= case.loss <= most,
        (high - low) / 2,
    )


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
        *(text.percent(value) for value in percent),
        f"{np.mean([one.covered for one in scores]):.2f}",
        f"{np.mean([one.loss_covered for one in scores]):.2f}",
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
    head = [
        "predicted",
        "approach",
        "cases",
        "N median",
        "N 9 of 10",
        "loss median",
        "loss 9 of 10",
        "N covered",
        "loss covered",
        "N interval",
    ]
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
        "Errors of N are absolute differences of logs; `covered` is the share of 90 % intervals that hold the "
        "measured minimum, `interval` their median half-width.",
        markdown(head, rows),
        "Kriging on the largest budget of each sweep:",
        markdown(["sweep", "N", "loss"], single),
    )


if __name__ == "__main__":
    main()
