"""Runs whose own numbers contradict each other: FLOPs against 6 N D or the budget, tokens against params.

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
"""Factor between neighbours that no way of counting leaves. In 22 public tables FLOPs over 6 N D and over the budget
have no step above 3."""
PER_6ND = (1e-3, 1e5)
"""FLOPs over 6 N D in the middle. Shared experts, and images that count as one token, stay well inside."""
PER_PARAM = (1e-3, 1e6)
"""Tokens per param of a model that somebody trained. Public sweeps have .02 to 10,000."""
FEWEST = 3
"""Runs; with fewer nothing is typical."""
AT_MOST = 0.2
"""Share of the runs that may be set aside; with more it is open which of them are wrong."""


def contradicting(points: Points) -> Mapping[int, str]:
    """Why each run that contradicts itself should not enter a fit, by row.

    Raises DataError where most runs do, or so many that it is open which.
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
    found: dict[int, str] = {}
    for rows, reason in (
        (
            _apart(per_param) & _outside(per_param, PER_PARAM),
            "its tokens do not go with its params",
        ),
        (_apart(work), "its FLOPs are not 6·N·D as in the other runs, by more than a factor of 30"),
        (_apart(nominal), "its FLOPs are not those of its budget, by more than a factor of 30"),
    ):
        found.update((row, reason) for row in np.flatnonzero(rows).tolist() if row not in found)
    _refuse_many(points, found)
    return found


def _apart(ratio: Array) -> NDArray[np.bool_]:
    """Which ratios lie beyond a gap, as seen from the middle one; unknown ones do not."""
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
    """Raise DataError where the middle ratio is one that counts in one unit do not have."""
    known = np.flatnonzero(np.isfinite(ratio))
    if len(known) < FEWEST:
        return
    row = int(known[np.argsort(ratio[known])[len(known) // 2]])
    if ends[0] <= ratio[row] <= ends[1]:
        return
    raise DataError(
        f"A run's params, tokens and FLOPs must be plain counts, but the {what} of the middle run are "
        f"{ratio[row]:.2g} {times} ({_described(points, row)}); correct their units, or take them as they are with "
        f'keep="all".'
    )


def _refuse_many(points: Points, found: Mapping[int, str]) -> None:
    if len(found) <= max(AT_MOST * len(points), 1):
        return
    row, reason = next(iter(found.items()))
    raise DataError(
        f"A run's params, tokens, FLOPs and budget must go together, but those of {len(found)} of {len(points)} "
        f"runs do not ({_described(points, row)}: {reason}); correct them or leave them out."
    )


def _described(points: Points, row: int) -> str:
    return f"{format_count(points.N[row])} params, {format_count(points.D[row])} tokens, {format_flops(points.C[row])} FLOPs"
