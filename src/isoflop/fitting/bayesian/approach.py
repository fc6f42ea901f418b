"""Bayesian: the optimum's path with priors learned from public sweeps; the default answer.

Two accounts of the runs are weighed by how well they explain them (Bayesian model averaging):

- the additive law is right everywhere: its numbers are integrated over (`kriging`);
- it is not, as in all public sweeps: what the runs show of the optimum within their range
  (`evidence`) is continued beyond it by lines whose slopes change (`path`).
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

__all__ = ["Bayesian"]

NO_FLOOR = 0.2
"""Share of the loss at the largest runs below which its floor counts as none."""
OFF_PATH, OFF_ERRORS = 0.15, 2.5
"""Log N, and standard errors, by which the path may miss a budget's minimum before it is said."""


@dataclass(frozen=True)
class Bayesian:
    """The compute-optimal path: what the runs show, continued as public sweeps go on.

    Parameters
    ----------
    prior
        What is believed before any run is seen; the default is learned from public sweeps.

    Notes
    -----
    Where runs have budgets, their minima are the evidence; where they have none, the law with its
    discrepancy (`Kriging`) is, within the range of the runs.
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
        """The path of some points; Raises DataError where they show no optimum."""
        posterior, refusal = _posterior(points)
        evidence = gather(points, posterior)
        if evidence is None:
            assert refusal is not None
            raise refusal
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
    """What kriging makes of the runs, or why it makes nothing of them."""
    try:
        return Kriging().posterior(points), None
    except DataError as refusal:
        return None, refusal


def _outlier_notes(points: Points, evidence: Evidence) -> tuple[str, ...]:
    """Runs that count nothing because they lie far off the curve of their budget."""
    if evidence.minima is None or not evidence.minima.outliers.any():
        return ()
    runs = [
        run for run, is_off in zip(points.runs, evidence.minima.outliers, strict=True) if is_off
    ]
    one = len(runs) == 1
    who, lie, count = ("1 run", "lies", "counts") if one else (f"{len(runs)} runs", "lie", "count")
    return (
        f"{who} {lie} far off the curve of {'its' if one else 'their'} budget and {count} nothing there: "
        f"{join_words([describe(run) for run in runs])}.",
    )


def _miss_notes(law: PathLaw, evidence: Evidence) -> tuple[str, ...]:
    """Budgets whose minimum the path misses by more than its error."""
    if evidence.minima is None:
        return ()
    found = []
    for c, log_N, variance in zip(
        evidence.c, evidence.log_N, np.diag(evidence.covariance), strict=True
    ):
        there = float(np.log(law.optimum(6 * np.exp(c))[0]))
        if abs(there - log_N) > max(OFF_PATH, OFF_ERRORS * float(variance) ** 0.5):
            found.append(
                f"{format_count(float(np.exp(there)))} instead of {format_count(float(np.exp(log_N)))} at "
                f"{format_flops(float(6 * np.exp(c)))} FLOPs"
            )
    if not found:
        return ()
    return (f"The path of the optimum misses minima of budgets: {join_words(found, most=3)}.",)


def _small_notes(path: OptimalPath, law: PathLaw) -> tuple[str, ...]:
    """That the loss of small models may not fall as that of larger ones."""
    if not path.share_unsettled:
        return ()
    size = format_count(float(law.optimum(6 * np.exp(path.top))[0]))
    return (
        f"The best models in these runs have {size} params at most: the loss of models below {format_count(SMALL)} often "
        f"does not follow a power law yet, so its interval is wide.",
    )


def _floor_notes(path: OptimalPath) -> tuple[str, ...]:
    if path.floor > NO_FLOOR:
        return ()
    return (
        "The runs show no irreducible loss: the loss falls as if none were left in the end; losses far beyond the runs "
        "are guesses.",
    )
