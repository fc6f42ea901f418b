"""Runs with numbers that contradict each other.

FLOPs are compared with 6 N D and with the budget, and tokens with params.

N params, D tokens, C FLOPs. There are many ways to count FLOPs and params (embeddings left out,
active experts, patches of an image), so that a factor that all runs share, or that changes
gradually from run to run, contradicts nothing. A few runs beyond a wide gap are in another unit,
or were mistyped.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from isoflop.display.format import format_count, format_flops
from isoflop.errors import DataError
from isoflop.laws.base import Array
from isoflop.laws.points import Points

__all__ = ["contradicting"]

GAP = 30.0
"""Factor between neighbouring ratios that no way of counting explains.

In 22 public tables, FLOPs over 6 N D and over the budget have no step above 3.
"""
PER_6ND = (1e-3, 1e5)
"""Range of the median of FLOPs over 6 N D.

Shared experts, and images that count as one token, stay well inside.
"""
PER_PARAM = (1e-3, 1e6)
"""Range of tokens per param of a trained model. Public sweeps have .02 to 10,000."""
FEWEST = 3
"""Fewest runs that show what is typical."""
AT_MOST = 0.2
"""Largest share of the runs set aside; beyond it, it is unclear which of them are wrong."""


def contradicting(points: Points) -> Mapping[int, str]:
    """The reason why each run that contradicts itself should not enter a fit, by row.

    Raises DataError if most runs do, or so many that it is unclear which are wrong.
    """
    if len(points) < FEWEST:
        return {}
    with np.errstate(all="ignore"):
        work, per_param, nominal = (
            points.C / points.N / points.D / 6,
            points.D / points.N,
            points.C / points.budget,
        )
    _require_middle(points, work, PER_6ND, "FLOPs", "times 6·N·D")
    _require_middle(points, per_param, PER_PARAM, "tokens", "times the params")
    _require_middle(points, nominal, (1 / GAP, GAP), "FLOPs", "times the budget")
    reasons: dict[int, str] = {}
    for rows, reason in (
        (
            _apart(per_param) & _outside(per_param, PER_PARAM),
            "its tokens do not go with its params",
        ),
        (_apart(work), "its FLOPs are not 6·N·D as in the other runs, by more than a factor of 30"),
        (_apart(nominal), "its FLOPs are not those of its budget, by more than a factor of 30"),
    ):
        for row in np.flatnonzero(rows).tolist():
            reasons.setdefault(row, reason)
    _refuse_many(points, reasons)
    return reasons


def _apart(ratio: Array) -> NDArray[np.bool_]:
    """True for ratios beyond a gap as seen from the middle one; False for unknown ones."""
    known = np.sort(np.log(ratio[np.isfinite(ratio)]))
    middle = len(known) // 2
    gaps = np.flatnonzero(np.diff(known) > math.log(GAP))
    low = max((known[gap + 1] for gap in gaps if gap < middle), default=-math.inf)
    high = min((known[gap] for gap in gaps if gap >= middle), default=math.inf)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.log(ratio) < low) | (np.log(ratio) > high))


def _outside(ratio: Array, ends: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((ratio < ends[0]) | (ratio > ends[1]))


def _require_middle(
    points: Points, ratio: Array, ends: tuple[float, float], what: str, times: str
) -> None:
    """Raise DataError if the middle ratio is outside the range of counts in one unit."""
    known = np.flatnonzero(np.isfinite(ratio))
    if len(known) < FEWEST:
        return
    row = int(known[np.argsort(ratio[known])[len(known) // 2]])
    if ends[0] <= ratio[row] <= ends[1]:
        return
    raise DataError(
        f"A run's params, tokens and FLOPs must be plain counts, but the {what} of the middle run "
        f"are {ratio[row]:.2g} {times} ({_described(points, row)}); correct their units, or use "
        f'them unchanged with keep="all".'
    )


def _refuse_many(points: Points, reasons: Mapping[int, str]) -> None:
    if len(reasons) <= max(AT_MOST * len(points), 1):
        return
    row, reason = next(iter(reasons.items()))
    raise DataError(
        f"A run's params, tokens, FLOPs and budget must go together, but those of {len(reasons)} "
        f"of {len(points)} runs do not ({_described(points, row)}: {reason}); correct them or "
        f"leave them out."
    )


def _described(points: Points, row: int) -> str:
    return (
        f"{format_count(points.N[row])} params, {format_count(points.D[row])} tokens, "
        f"{format_flops(points.C[row])} FLOPs"
    )
