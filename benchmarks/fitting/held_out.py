"""Held-out budgets of ten public sweeps: how sharp and how honest is each method?

    ISOFLOP_DATA=<folder of the tables> python benchmarks/fitting/held_out.py
    ... --method mine.py:forecast      scores a method of yours too (methods.py)

Seen are 3, 4 or 5 adjacent budgets, or all budgets below some place; each later budget, up to 400
times larger, is a case where its own minimum is known to 12 % (a parabola through log loss over log
N, runs within x/÷4 of it). A method gives draws of log N and of log loss at the target's FLOPs.
Families of sweeps weigh alike in every mean.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import farseer
import held_out_tables
import numpy as np
from methods import METHODS, Method, named
from scores import Score, score
from tables import TEXT_SWEEPS, markdown, write
from windows import ALL_BELOW, Case, cases

from isoflop.errors import DataError

NINE_GROUPS_REACH = 17.0


@dataclass(frozen=True, eq=False)
class Result:
    """What one method scores in one case."""

    case: Case
    N: Score
    """Of log N."""
    loss: Score | None
    """Of log loss; None where the method says nothing about it."""
    error: float
    """Log of the answered over the measured N."""
    told: float
    """Waste that is expected; NaN where the method does not say."""
    real: float
    """Waste of that answer, from how sharp the sweep's own minima are."""


Results = Mapping[str, list[Result]]
"""Method -> what it scores in the cases that it answers, in the order of the cases."""


def judged(case: Case, method: Method) -> Result:
    found = method(case.seen, case.flops)
    off = found.log_size - case.target.log_N
    return Result(
        case=case,
        N=score(found.log_N, case.target.log_N),
        loss=None if found.log_loss is None else score(found.log_loss, case.target.log_loss),
        error=off,
        told=found.waste,
        real=1 - math.exp(-case.sharpness / 2 * off**2),
    )


def results(methods: Mapping[str, Method], given: Iterable[Case]) -> dict[str, list[Result]]:
    """The scores of some methods; cases that a method refuses are left out of its own."""
    everything = list(given)
    found: dict[str, list[Result]] = {}
    for name, method in methods.items():
        found[name] = []
        for case in everything:
            with np.errstate(all="ignore"):
                try:
                    found[name].append(judged(case, method))
                except DataError:
                    continue
    return found


GROUPS: dict[str, Callable[[Case], bool]] = {
    "largest budget from the others": lambda case: case.is_largest and case.is_next,
    "next budget": lambda case: case.is_next,
    "3x beyond": lambda case: 2.4 < case.ratio < 4.2,
    "10x beyond": lambda case: case.ratio > 7.9,
}
"""Of the nine sweeps of text, all budgets below seen, up to 17x beyond: 151 cases."""


def is_in_groups(case: Case) -> bool:
    near = case.ratio < NINE_GROUPS_REACH
    return case.num_seen == ALL_BELOW and near and case.sweep in TEXT_SWEEPS


def grouped(found: Results) -> list[list[object]]:
    """Rows of the table of groups; cases weigh alike there."""
    return [
        held_out_tables.group_row(group, name, chosen)
        for group, belongs in GROUPS.items()
        for name, scores in found.items()
        if (chosen := [one for one in scores if is_in_groups(one.case) and belongs(one.case)])
    ]


def singles(scores: Iterable[Result]) -> list[list[object]]:
    """The largest budget of each sweep from all others."""
    return [
        [
            one.case.sweep,
            f"{one.case.ratio:.3g}x",
            f"{100 * one.error:+.1f} %",
            f"x/÷{math.exp(one.N.half_width):.2f}",
            f"{100 * one.loss.error:+.2f} %" if one.loss else "",
        ]
        for one in scores
        if one.case.num_seen == ALL_BELOW and one.case.is_largest and one.case.is_next
    ]


def methods_asked(argv: list[str] | None = None) -> dict[str, Method]:
    """All methods, and those named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", action="append", default=[], metavar="FILE:FUNCTION")
    given = parser.parse_args(argv)
    return {**METHODS, **dict(named(where) for where in given.method)}


def main() -> None:
    methods = methods_asked()
    everything = cases()
    found = results(methods, everything)
    write(
        "fitting-held-out.md",
        "Held-out budgets of public sweeps",
        "python benchmarks/fitting/held_out.py",
        __doc__.rsplit("\n\n", 1)[1].strip(),
        *held_out_tables.page(found, everything),
        "**All budgets below seen, nine sweeps of text, up to 17 times beyond** (cases weigh "
        "alike; errors of N are absolute differences of logs):",
        markdown(held_out_tables.GROUP_HEAD, grouped(found)),
        "**The default on the largest budget of each sweep, from all others:**",
        markdown(["sweep", "beyond", "N", "interval", "loss"], singles(found["default"])),
        *farseer.page(),
    )


if __name__ == "__main__":
    main()
