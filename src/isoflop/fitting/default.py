"""The default approach, and the approach that answers where the default finds no law."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach, NoLawError, Solved
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.screening.screen import Keep, Screened, screen
from isoflop.fitting.screening.selection import Needs
from isoflop.fitting.screening.thinning import sifted
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import Law
from isoflop.laws.other_laws import DataConstrainedLaw
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["Answered", "law_of", "screened", "solve_points"]


class Answered(NamedTuple):
    """An approach's law for some points."""

    approach: Approach
    solved: Solved
    notes: tuple[Note, ...]
    """A note if the default approach was requested but has no law for these points."""


def solve_points(points: Points, approach: Approach | None = None) -> Answered:
    """The law of some points by an approach; None for the default.

    Approach 3 answers if the default has no law. Raises DataError if the points determine no law.
    """
    try:
        return _answered(points, approach)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "The runs determine no law, since their equations have no solution; look for losses, "
            "params or tokens far from those of the other runs."
        ) from error


def _answered(points: Points, approach: Approach | None) -> Answered:
    if approach is not None:
        return Answered(approach, approach.solve(points), ())
    default, law_alone = Bayesian(), Parametric()
    try:
        return Answered(default, default.solve(points), ())
    except NoLawError as error:
        reason = error.reason
        solved = law_alone.solve(points)
        if not 0 < float(solved.law.optimum(float(points.C.max()))[0]) < math.inf:
            raise
    text = f"{reason}: the answer is of Approach 3 alone, whose intervals take its law for true."
    return Answered(law_alone, solved, (Note("default-without-law", text),))


@one_blas_thread
@np.errstate(all="ignore")  # a law without an optimum is infinite there
def law_of(runs: Iterable[Run], approach: Approach | None = None, *, keep: Keep = "sound") -> Law:
    """The law of some runs without intervals and notes, which take most of the time of `fit`.

    Raises DataError if the runs cannot answer.
    """
    return solve_points(screened(runs, approach, keep).points, approach).solved.law


def screened(runs: Iterable[Run], approach: Approach | None, keep: Keep = "sound") -> Screened:
    """The runs that an approach may use; of very large tables a few hundred that represent all."""
    if isinstance(approach, Envelope):  # a hull needs every run and the curves of training
        return screen(runs, keep, Needs(curves=True))
    repeats = isinstance(approach, Parametric) and isinstance(approach.law, DataConstrainedLaw)
    return sifted(runs, keep, Needs(repeats=repeats))
