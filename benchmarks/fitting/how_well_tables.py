"""Tables of the page "How well do scaling laws predict?": where the default misses comes first."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from held_out_tables import cells_of, summary
from how_well_figures import NEAR, WORDS
from scores import geometric_mean
from tables import markdown
from windows import ALL_BELOW

from isoflop.display.format import format_percent

Found = Mapping[str, Sequence[Any]]
TOO_FEW = 0.8
"""Share of truths inside 90 % intervals below which a row is a miss."""
LEAST_CASES = 4


def in_short(found: Found, num_cases: int) -> str:
    """One row for each method."""
    head, rows = summary(found, num_cases)
    return markdown(head, [[WORDS.get(str(row[0]), row[0]), *row[1:]] for row in rows])


def misses(scores: Sequence[Any]) -> str:
    """Cases where the default's intervals hold too little, the worst first."""
    rows = []
    for of, what in (("N", "best size"), ("loss", "loss there")):
        for where, part in _groups(scores):
            share = np.mean([getattr(one, of).is_covered() for one in part])
            if share < TOO_FEW:
                off = np.exp([getattr(one, of).error for one in part]) - 1
                cells = (what, len(part), f"{share:.0%}", f"{100 * np.median(off):+.3g} %")
                rows.append((share, [*where, *cells]))
    head = ["sweep", "seen", "beyond", "predicted", "cases", "inside", "median error"]
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return markdown(head, ordered) if rows else "There are none."


def _groups(scores: Sequence[Any]) -> Iterator[tuple[list[str], list[Any]]]:
    """Sweeps x what was seen x near and far, and the largest budgets of all sweeps together."""
    sweeps = dict.fromkeys(one.case.sweep for one in scores)
    for sweep, (seen, is_seen), (beyond, is_there) in itertools.product(sweeps, _SEEN, _BEYOND):
        part = [one for one in scores if one.case.sweep == sweep and is_seen(one) and is_there(one)]
        if len(part) >= LEAST_CASES:
            yield [sweep, seen, beyond], part
    for seen, is_seen in _SEEN:
        largest = [one for one in scores if is_seen(one) and one.case.is_largest]
        part = [one for one in largest if one.case.is_next]
        yield ["all, their largest budget", seen, "the next"], part


Belongs = Callable[[Any], bool]
_SEEN: tuple[tuple[str, Belongs], ...] = (
    ("3 to 5 budgets", lambda one: one.case.num_seen != ALL_BELOW),
    ("all below", lambda one: one.case.num_seen == ALL_BELOW),
)
_BEYOND: tuple[tuple[str, Belongs], ...] = (
    (f"up to {NEAR:g}x", lambda one: one.case.ratio <= NEAR),
    (f"{NEAR:g}-400x", lambda one: one.case.ratio > NEAR),
)


def sweeps(found: Found) -> str:
    """Each sweep by itself: the interval score of log N and the share of minima inside."""
    head = ["sweep", "cases", *(WORDS.get(name, name) for name in found), "median error, default"]
    rows = []
    for sweep in dict.fromkeys(one.case.sweep for one in found["default"]):
        parts = [[one for one in scores if one.case.sweep == sweep] for scores in found.values()]
        errors = np.abs([one.error for one in found["default"] if one.case.sweep == sweep])
        count = max(len(part) for part in parts)
        rows.append(
            [sweep, count, *map(_in_short, parts), format_percent(float(np.median(errors)))]
        )
    return markdown(head, rows)


def _in_short(part: Sequence[Any]) -> str:
    """Geometric mean of the score over cells, so that far targets do not decide alone."""
    if not part:
        return "refused"
    cells = list(cells_of(part).values()) or [list(part)]
    score = geometric_mean([float(np.mean([one.N.interval for one in cell])) for cell in cells])
    return f"{score:.2f} ({np.mean([one.N.is_covered() for one in part]):.2f})"
