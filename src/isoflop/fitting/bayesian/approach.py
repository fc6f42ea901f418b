"""Bayesian: the path of the optimum with priors learned from public sweeps; the default approach.

Two models are averaged, each weighted by how well it explains the runs (Bayesian model averaging):

- the additive law is right everywhere, and the posterior of its numbers is used (`kriging`);
- it is not, as in all public sweeps: the optimum within the range of the runs (`evidence`) is
  continued beyond it by lines whose slopes change (`path`).
"""

from dataclasses import dataclass, field

import numpy as np

from isoflop import arguments
from isoflop.display.format import format_count, format_flops, join_words
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.bayesian.evidence import Evidence, gather
from isoflop.fitting.bayesian.law import PathLaw
from isoflop.fitting.bayesian.path import OptimalPath
from isoflop.fitting.bayesian.prior import SMALL, Prior
from isoflop.fitting.kriging.approach import Kriging, Posterior, misfit_notes
from isoflop.fitting.screening.screen import describe
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["Bayesian"]

NO_FLOOR = 0.2
"""Floor of the loss, as a share of the loss at the largest runs, below which it counts as none."""
OFF_PATH, OFF_ERRORS = 0.15, 2.5
"""Log N, and standard errors, by which the path may miss a budget's minimum without a note."""


@dataclass(frozen=True)
class Bayesian:
    """The compute-optimal path of the runs, continued as those of public sweeps continue.

    Parameters
    ----------
    prior
        Prior of the path; the default is learned from public sweeps.

    Notes
    -----
    The evidence is the minimum of each budget. Where runs have no budgets, it is the law with its
    discrepancy (`Kriging`) within the range of the runs.
    """

    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        if not isinstance(self.prior, Prior):
            raise arguments.refused(
                self.prior, "Bayesian: prior", "a Prior, such as Prior(slope=(0.5, 0.05))"
            )

    def __repr__(self) -> str:
        return "Bayesian()" if self.prior == Prior() else f"Bayesian(prior={self.prior!r})"

    def solve(self, points: Points) -> Solved:
        """The path through the points; Raises DataError where they show no optimum."""
        posterior, error = _posterior(points)
        evidence = gather(points, posterior)
        if evidence is None:
            assert error is not None
            raise error
        path = OptimalPath.of(evidence, self.prior, posterior)
        law = path.middle()
        return Solved(
            law=law,
            objective=-path.log_evidence,
            draw=path.draw,
            num_parameters=5,
            notes=(
                *_outlier_notes(points, evidence),
                *_miss_notes(law, evidence),
                *(() if posterior is None else misfit_notes(posterior)),
                *_floor_notes(path),
                *_small_notes(path, law),
            ),
        )


def _posterior(points: Points) -> tuple[Posterior | None, DataError | None]:
    """The posterior of kriging, or the error where it has none."""
    try:
        return Kriging().posterior(points, needed_by="fit"), None  # the user chose no kriging
    except DataError as error:
        return None, error


def _outlier_notes(points: Points, evidence: Evidence) -> tuple[Note, ...]:
    """A note on runs that do not count because they lie far off the curve of their budget."""
    if evidence.minima is None or not evidence.minima.outliers.any():
        return ()
    runs = [
        run for run, is_off in zip(points.runs, evidence.minima.outliers, strict=True) if is_off
    ]
    head = (
        "1 run lies far off the curve of its budget and does not count there"
        if len(runs) == 1
        else f"{len(runs)} runs lie far off the curve of their budget and do not count there"
    )
    text = f"{head}: {join_words([describe(run) for run in runs])}."
    return (Note("off-budget-curve", text),)


def _miss_notes(law: PathLaw, evidence: Evidence) -> tuple[Note, ...]:
    """A note on budgets whose minimum the path misses by more than its error."""
    if evidence.minima is None:
        return ()
    errors = np.sqrt(np.diag(evidence.covariance))
    misses = []
    for c, log_N, error in zip(evidence.c, evidence.log_N, errors, strict=True):
        path = float(np.log(law.optimum(6 * np.exp(c))[0]))
        if abs(path - log_N) > max(OFF_PATH, OFF_ERRORS * float(error)):
            misses.append(_miss(float(c), path, float(log_N)))
    if not misses:
        return ()
    text = f"The path of the optimum misses minima of budgets: {join_words(misses, most=3)}."
    return (Note("path-misses-minima", text),)


def _miss(c: float, path: float, minimum: float) -> str:
    """Log N of the path instead of that of the minimum, at c."""
    here, there = (format_count(float(np.exp(log_N))) for log_N in (path, minimum))
    return f"{here} instead of {there} at {format_flops(float(6 * np.exp(c)))} FLOPs"


def _small_notes(path: OptimalPath, law: PathLaw) -> tuple[Note, ...]:
    """A note where the models are so small that their loss may not follow a power law yet."""
    if not path.share_unsettled:
        return ()
    size = format_count(float(law.optimum(6 * np.exp(path.top))[0]))
    text = (
        f"The best models in these runs have {size} params at most: the loss of models below "
        f"{format_count(SMALL)} often does not follow a power law yet, so its interval is wide."
    )
    return (Note("no-power-law-yet", text),)


def _floor_notes(path: OptimalPath) -> tuple[Note, ...]:
    if path.floor > NO_FLOOR:
        return ()
    text = (
        "The runs show no irreducible loss: the loss falls as if compute could remove all of it; "
        "losses far beyond the runs are guesses."
    )
    return (Note("no-irreducible-loss", text),)
