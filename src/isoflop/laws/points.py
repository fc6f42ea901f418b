"""Runs as columns of numbers, the form that every approach reads.

N params, D tokens, C FLOPs, L loss.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_count, format_number
from isoflop.errors import DataError
from isoflop.laws.base import Array
from isoflop.runs import Run

__all__ = ["Points", "joined_budgets", "lies_on_a_line", "require_enough", "require_off_a_line"]

ROUNDED = 1.01
"""Factor within which budgets are one: those computed as 6 N D, or from tokens in whole batches,
differ from run to run by rounding."""

LEAST_SPREAD = 1.25
"""Smallest factor between the most and the fewest tokens per param, measured across the line on
which the runs lie. Rounding to layers and batches alone gives less; every published sweep whose
authors fitted a surface has 100 and more."""


@dataclass(frozen=True, eq=False)
class Points:
    """Columns of n runs, each of shape (n,)."""

    runs: tuple[Run, ...]
    N: Array
    D: Array
    C: Array
    L: Array
    budget: Array
    """NaN where a run belongs to no budget; equal for budgets that rounding alone separates."""
    unique: Array
    """Distinct training tokens; equal to D where no token was repeated or no epochs are known."""

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Points":
        """The columns of the runs."""
        rows = np.empty((len(runs), 6))
        for column, values in zip(rows.T, _values(runs), strict=True):
            column[:] = np.fromiter(values, dtype=np.float64, count=len(runs))
        N, D, C, L, budget, unique = rows.T
        return cls(tuple(runs), N, D, C, L, joined_budgets(budget), unique)

    def __len__(self) -> int:
        return len(self.runs)

    @cached_property
    def budgets(self) -> Array:
        """Distinct budgets of the runs, in increasing order."""
        return np.unique(self.budget[np.isfinite(self.budget)])

    @cached_property
    def keys(self) -> tuple[Hashable, ...]:
        """Name of each run's configuration; replicates and rows of one trained model share it."""
        return tuple(
            run.group or (run.num_params, run.num_tokens, budget, unique)
            for run, budget, unique in zip(
                self.runs, np.nan_to_num(self.budget).tolist(), self.unique.tolist(), strict=True
            )
        )

    @cached_property
    def cluster(self) -> NDArray[np.intp]:
        """Number of each run's configuration, from 0."""
        numbers = {key: number for number, key in enumerate(dict.fromkeys(self.keys))}
        return np.array([numbers[key] for key in self.keys], dtype=np.intp)

    def pick(self, keep: NDArray[np.bool_]) -> "Points":
        """The runs where `keep` is true."""
        return Points.of([run for run, kept in zip(self.runs, keep, strict=True) if kept])


def joined_budgets(budgets: Array) -> Array:
    """The budgets, with those that rounding alone separates as the most common one of them."""
    known = np.isfinite(budgets)
    distinct, place, counts = np.unique(budgets[known], return_inverse=True, return_counts=True)
    ones, first = distinct.copy(), 0
    while first < len(distinct):
        last = max(ROUNDED * distinct[first], distinct[first])
        end = int(np.searchsorted(distinct, last, side="right"))
        ones[first:end] = distinct[first + int(np.argmax(counts[first:end]))]
        first = end
    joined = budgets.copy()
    joined[known] = ones[place]
    return joined


def _values(runs: Sequence[Run]) -> Iterator[Iterator[float]]:
    """Values of each column."""
    yield (run.num_params for run in runs)
    yield (run.num_tokens for run in runs)
    yield (run.flops for run in runs)
    yield (run.loss for run in runs)
    yield (run.budget or math.nan for run in runs)
    yield (_unique_tokens(run) for run in runs)


def _unique_tokens(run: Run) -> float:
    epochs = run.spec.epochs
    return run.num_tokens / epochs if epochs is not None and epochs > 1 else run.num_tokens


def require_enough(points: Points, approach: str, needed: int, purpose: str = "") -> None:
    """Raise DataError where an approach lacks configurations, sizes or numbers of tokens."""
    configurations = len(set(zip(points.N, points.D, strict=True)))
    if configurations < needed:
        raise DataError(
            f"{approach} needs at least {needed} runs of different size or tokens{purpose}, "
            f"but got {configurations}; add runs at other sizes and budgets."
        )
    for values, what in ((points.N, "sizes"), (points.D, "numbers of tokens")):
        if len(np.unique(values)) < 3:
            raise DataError(
                f"{approach} needs at least 3 different {what}, but got {len(np.unique(values))}; "
                f"add runs at other {what}."
            )


def lies_on_a_line(points: Points) -> bool:
    """Whether tokens follow from params, so that the effects of the two cannot be separated.

    A ladder at 20 tokens per param is an example: the design (log N, log D) is singular.
    """
    logs = np.stack([np.log(points.N), np.log(points.D)], axis=1)
    across = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)[2][1]
    # Where the line is D = k N, the width is the range of log D / N.
    width = float(np.ptp(logs @ across) * np.abs(across).sum())
    return bool(width < np.log(LEAST_SPREAD))


def require_off_a_line(points: Points, approach: str) -> None:
    """Raise DataError where tokens follow from params in all runs; it names runs to add."""
    if not lies_on_a_line(points):
        return
    ratio, order = points.D / points.N, np.argsort(points.N)
    ends = dict.fromkeys([format_number(float(ratio.min())), format_number(float(ratio.max()))])
    middle = points.runs[int(order[len(order) // 2])]
    few, many = format_count(middle.num_tokens / 4), format_count(middle.num_tokens * 4)
    raise DataError(
        f"{approach} needs sizes trained on different numbers of tokens to separate size from "
        f"data, but in all {len(points)} runs the tokens follow from the params "
        f"({' to '.join(ends)} tokens per param); add runs at three sizes or more, such as "
        f"{format_count(middle.num_params)} params on {few} and on {many} tokens."
    )
