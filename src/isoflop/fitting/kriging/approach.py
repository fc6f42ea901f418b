"""Kriging: a law, a smooth discrepancy and noise, with intervals that allow for all three.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y. On real sweeps the
errors of a law are smooth in (x, y), not independent. On nine public sweeps, 90 % intervals from
resampled runs therefore cover only .02 to .16 of the held-out optima with one law, and half of them
with parabolas. Universal kriging (Matheron 1969), integrated over the exponents and over the size
and the length of the discrepancy (`exponents`, `discrepancy`, `posterior`), covers .88 to .94.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isoflop import arguments
from isoflop.display.format import format_percent, join_words
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import NoLawError, Solved
from isoflop.fitting.kriging.discrepancy import (
    NEAR,
    Covariances,
    Plane,
    covariances,
    first_law,
    hypotheses,
)
from isoflop.fitting.kriging.exponents import ExponentGrid, integrate
from isoflop.fitting.kriging.law import KrigedLaw, law_of
from isoflop.fitting.kriging.outliers import find_outliers
from isoflop.fitting.kriging.posterior import Surfaces, draw_surfaces, middle_surfaces
from isoflop.fitting.screening.screen import describe
from isoflop.laws.points import Points, require_enough, require_off_a_line
from isoflop.notes.note import Note

__all__ = ["FEWEST", "KrigedLaw", "Kriging", "Posterior", "misfit_notes"]

MOST_GUESSES = 20
MOST_RUNS = 300
"""Most runs that are used: memory grows with their square and time with their cube; 300 take .1 s
on one core."""
NUM_MIDDLE = 250
"""Surfaces that represent the middle of the posterior."""
FEWEST = 6
NO_FLOOR = 0.02
"""Median E as a share of the lowest loss below which the runs show no irreducible loss."""
LARGE_MISFIT = 0.004
"""Share of the loss that the law misses near the optimum, above which a note says so; one of nine
public sweeps has more."""


@dataclass(frozen=True)
class Kriging:
    """An additive law with a Gaussian-process discrepancy through all runs.

    The answer integrates over the numbers of the law, the discrepancy and the noise. Runs far above
    the best loss at their compute, or far below the largest runs, count less. Runs that neither the
    law nor the discrepancy explains are named in a note and do not count.

    Parameters
    ----------
    lengths
        Distances in log params or log tokens over which the discrepancy changes.
    ratios
        Sizes of the discrepancy in standard deviations of the noise; no discrepancy at all is
        always one of the hypotheses.
    """

    lengths: tuple[float, ...] = (1.2, 1.8, 2.5)
    ratios: tuple[float, ...] = (0.7, 1.4, 2.8)

    def __post_init__(self) -> None:
        for name in ("lengths", "ratios"):
            values = arguments.listed(getattr(self, name), f"Kriging: {name}")
            if len(values) > MOST_GUESSES:
                raise DataError(
                    f"Kriging: {name} must be at most {MOST_GUESSES} numbers, but got "
                    f"{len(values)}."
                )
            read = tuple(_guess(value, name) for value in values)
            object.__setattr__(self, name, read)

    def solve(self, points: Points) -> Solved:
        """The kriged law of the points; Raises DataError where they cannot determine it."""
        posterior = self.posterior(points)
        return Solved(
            law=law_of(posterior.middle, middle=True),
            objective=-posterior.grid.log_evidence,
            draw=posterior.draw,
            num_parameters=5,
            notes=(
                *_thinned_notes(points, posterior.used),
                *_outlier_notes(posterior.used, posterior.plane.is_outlier),
                *misfit_notes(posterior),
                *_floor_notes(posterior.middle),
            ),
        )

    def posterior(self, points: Points, needed_by: str = "Kriging") -> "Posterior":
        """The posterior given the points; Raises DataError where they cannot determine a law.

        needed_by: what refuses too few runs, as the error names it.
        """
        require_enough(points, needed_by, FEWEST)
        require_off_a_line(points, needed_by)
        used = _nearest(points)
        plane = Plane.of(used, find_outliers(used))
        errors = covariances(plane, hypotheses(self.lengths, self.ratios))
        grid = integrate(errors.whiteners, errors.log_prior, plane.x, plane.y, plane.loss)
        if not grid.possible:
            raise NoLawError(
                "These runs show no law whose loss falls with both size and tokens",
                "look at the runs, or add some with fewer and with more tokens per param",
            )
        return Posterior(used, plane, errors, grid)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Hypotheses about the errors and the exponents of the law, weighted by how well they fit."""

    used: Points
    plane: Plane
    covariances: Covariances
    grid: ExponentGrid

    @cached_property
    def middle(self) -> Surfaces:
        """Surfaces that represent the middle of the posterior."""
        return middle_surfaces(self.plane, self.covariances, self.grid, NUM_MIDDLE)

    def draw(self, number: int, random: np.random.Generator) -> KrigedLaw:
        """`number` laws with their discrepancies, drawn from the posterior."""
        return self._drawn(self.grid, number, random)

    @property
    def share_of_law(self) -> float:
        """Probability that the law is right everywhere, without a discrepancy."""
        return float(self.grid.mass[self._is_law].sum())

    def draw_law(self, number: int, random: np.random.Generator) -> KrigedLaw:
        """`number` laws drawn under the hypothesis that the law is right."""
        mass = np.where(self._is_law[:, None, None], self.grid.mass, 0)
        return self._drawn(replace(self.grid, mass=mass), number, random)

    def _drawn(self, grid: ExponentGrid, number: int, random: np.random.Generator) -> KrigedLaw:
        surfaces = draw_surfaces(self.plane, self.covariances, grid, number, random)
        return law_of(surfaces, middle=False)

    @property
    def _is_law(self) -> NDArray[np.bool_]:
        """Which hypotheses have no discrepancy."""
        return np.array([guess.ratio == 0 for guess in self.covariances.hypotheses])


def _guess(value: object, name: str) -> float:
    must = "numbers from 0.001 to 1000"
    return float(
        arguments.number(value, f"Kriging: {name}", must=must, holds=lambda one: 1e-3 <= one <= 1e3)
    )


def _nearest(points: Points) -> Points:
    """The runs that count most, at most MOST_RUNS of them."""
    if len(points) <= MOST_RUNS:
        return points
    multiplier = NEAR.multiplier(Plane.of(points))
    keep = np.zeros(len(points), dtype=bool)
    keep[np.argsort(multiplier, kind="stable")[:MOST_RUNS]] = True
    return points.pick(keep)


def _thinned_notes(points: Points, used: Points) -> tuple[Note, ...]:
    if len(used) == len(points):
        return ()
    text = (
        f"The {len(used)} of {len(points)} runs that lie nearest to the best loss at their compute "
        f"and to the largest runs were used; the others would hardly count."
    )
    return (Note("thinned", text),)


def _outlier_notes(points: Points, is_outlier: NDArray[np.bool_]) -> tuple[Note, ...]:
    runs = [run for run, is_out in zip(points.runs, is_outlier, strict=True) if is_out]
    if not runs:
        return ()
    head, do = ("1 run", "does") if len(runs) == 1 else (f"{len(runs)} runs", "do")
    text = (
        f"{head} that neither the law nor a smooth discrepancy explains {do} not count: "
        f"{join_words([describe(run) for run in runs])}."
    )
    return (Note("unexplained-runs", text),)


def misfit_notes(posterior: Posterior) -> tuple[Note, ...]:
    """A note where the law misses the losses by more than is usual in published sweeps."""
    misfit = _misfit(posterior.middle)
    if misfit < LARGE_MISFIT:
        return ()
    text = (
        f"The law misses the losses by about {format_percent(misfit)} beyond noise, smoothly in "
        f"size and tokens; the intervals allow for it, but look for what changes between the runs "
        f"(learning rate, warm-up, batch)."
    )
    return (Note("misfit", text),)


def _misfit(surfaces: Surfaces) -> float:
    """Root mean square of the law's residuals beyond the noise, as a share of the loss."""
    plane, multiplier = surfaces.plane, NEAR.multiplier(surfaces.plane)
    away = first_law(plane, multiplier).residual(plane) / (multiplier * plane.loss)
    usual = int(np.bincount(surfaces.hypothesis).argmax())
    noise = np.mean(surfaces.residual[surfaces.hypothesis == usual] ** 2)
    return math.sqrt(max(float(np.mean(away[~plane.is_outlier] ** 2) - noise), 0))


def _floor_notes(surfaces: Surfaces) -> tuple[Note, ...]:
    if float(np.median(surfaces.E)) > NO_FLOOR * float(surfaces.plane.loss.min()):
        return ()
    text = (
        "The runs show no irreducible loss: the best fit has E at 0, the least allowed; losses far "
        "beyond the runs are guesses."
    )
    return (Note("no-irreducible-loss", text),)
