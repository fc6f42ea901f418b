"""Kriging: a law, a smooth discrepancy and noise, all integrated over; the default answer and its honest interval.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y. The errors of a law on real sweeps are
smooth in (x, y), not independent, so that 90 % intervals from resampled runs hold .02 to .16 of the held-out optima of
nine public sweeps with one law, and half of them with parabolas. Universal kriging (Matheron 1969) with the exponents,
the size and the length of the discrepancy integrated over (`exponents`, `discrepancy`, `posterior`) holds .88 to .94.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

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
    hypotheses,
    pilot,
)
from isoflop.fitting.kriging.exponents import ExponentGrid, integrate
from isoflop.fitting.kriging.law import KrigedLaw, law_of
from isoflop.fitting.kriging.outliers import find_spoilt
from isoflop.fitting.kriging.posterior import Surfaces, drawn, standing
from isoflop.fitting.screening.screen import describe
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.points import Points, require_enough, require_off_a_line

__all__ = ["FEWEST", "KrigedLaw", "Kriging", "Posterior", "misfit_notes"]

MOST_GUESSES = 20
MOST_RUNS = 300
"""Memory and time grow with the square and the cube of the runs; 300 take .1 s on one core."""
NUM_STANDING = 250
FEWEST = 6
NO_FLOOR = 0.02
"""Median E as a share of the lowest loss below which the runs show no irreducible loss."""
LARGE_MISFIT = 0.004
"""Of the loss, at runs near the valley; one of nine public sweeps has more."""


@dataclass(frozen=True)
class Kriging:
    """A law and a Gaussian-process discrepancy through all runs, integrated over everything that the runs leave open.

    law: the mean; an additive law none of whose numbers is held.
    lengths: log params or tokens over which the discrepancy changes.
    ratios: sizes of the discrepancy in standard deviations of the noise; the law alone is always a possibility.

    Runs far above the best loss at their compute, or far below the largest runs, count less; runs that neither law nor
    discrepancy explains are named and count nothing.
    """

    law: ChinchillaLaw = field(default_factory=ChinchillaLaw)
    lengths: tuple[float, ...] = (1.2, 1.8, 2.5)
    ratios: tuple[float, ...] = (0.7, 1.4, 2.8)

    def __post_init__(self) -> None:
        if not isinstance(self.law, ChinchillaLaw):
            raise arguments.refused(self.law, "Kriging: law", "ChinchillaLaw()")
        if not all(np.isnan(value) for value in vars(self.law).values()):
            raise DataError(
                f"Kriging integrates over the numbers of its law, so none can be held, but got {self.law}; "
                f"use Parametric(law=...) to hold some."
            )
        for name in ("lengths", "ratios"):
            values = arguments.listed(getattr(self, name), f"Kriging: {name}")
            if len(values) > MOST_GUESSES:
                raise DataError(
                    f"Kriging: {name} must be at most {MOST_GUESSES} numbers, but got {len(values)}."
                )
            read = tuple(_guess(value, name) for value in values)
            object.__setattr__(self, name, read)

    def solve(self, points: Points) -> Solved:
        """The kriged law of some points; Raises DataError where they cannot determine it."""
        found = self.posterior(points)
        middle = found.middle
        return Solved(
            law=law_of(middle, middle=True),
            objective=-found.grid.log_evidence,
            draw=found.draw,
            num_parameters=5,
            notes=(
                *_left_out_notes(points, found.used),
                *_spoilt_notes(found.used, found.plane.spoilt),
                *_misfit_notes(middle),
                *_floor_notes(middle),
            ),
        )

    def posterior(self, points: Points) -> "Posterior":
        """What some points leave possible; Raises DataError where they cannot determine it."""
        require_enough(points, "Kriging", FEWEST)
        require_off_a_line(points, "Kriging")
        used = _nearest(points)
        plane = Plane.of(used, find_spoilt(used))
        given = covariances(plane, hypotheses(self.lengths, self.ratios))
        grid = integrate(given.whiteners, given.log_prior, plane.x, plane.y, plane.loss)
        if not grid.possible:
            raise NoLawError(
                "Kriging found no law whose loss falls with both size and tokens in these runs; "
                "look at the runs, or add some with fewer and with more tokens per param."
            )
        return Posterior(used, plane, given, grid)


@dataclass(frozen=True, eq=False)
class Posterior:
    """The hypotheses about the errors and the exponents of the law, by how well they explain the runs."""

    used: Points
    plane: Plane
    given: Covariances
    grid: ExponentGrid

    @cached_property
    def middle(self) -> Surfaces:
        """Surfaces that stand for the middle of all."""
        return standing(self.plane, self.given, self.grid, NUM_STANDING)

    def draw(self, number: int, random: np.random.Generator) -> KrigedLaw:
        """So many laws with their discrepancies."""
        return law_of(drawn(self.plane, self.given, self.grid, number, random), middle=False)

    @property
    def share_of_law(self) -> float:
        """Probability that the law is right everywhere, without a discrepancy."""
        return float(self.grid.mass[self._is_law].sum())

    def draw_law(self, number: int, random: np.random.Generator) -> KrigedLaw:
        """So many laws under the hypothesis that the law is right."""
        mass = np.where(self._is_law[:, None, None], self.grid.mass, 0)
        grid = replace(self.grid, mass=mass)
        return law_of(drawn(self.plane, self.given, grid, number, random), middle=False)

    @property
    def _is_law(self) -> NDArray[np.bool_]:
        return np.array([guess.ratio == 0 for guess in self.given.hypotheses])


def _guess(value: Any, name: str) -> float:
    must = "numbers from 0.001 to 1000"
    return float(
        arguments.number(value, f"Kriging: {name}", must=must, holds=lambda one: 1e-3 <= one <= 1e3)
    )


def _nearest(points: Points) -> Points:
    """The runs that count most, MOST_RUNS at most."""
    if len(points) <= MOST_RUNS:
        return points
    multiplier = NEAR.multiplier(Plane.of(points))
    keep = np.zeros(len(points), dtype=bool)
    keep[np.argsort(multiplier, kind="stable")[:MOST_RUNS]] = True
    return points.pick(keep)


def _left_out_notes(points: Points, used: Points) -> tuple[str, ...]:
    if len(used) == len(points):
        return ()
    return (
        f"The {len(used)} of {len(points)} runs that lie nearest to the best loss at their compute and to the largest "
        f"runs were used; the others would hardly count.",
    )


def _spoilt_notes(points: Points, spoilt: NDArray[np.bool_]) -> tuple[str, ...]:
    runs = [run for run, is_spoilt in zip(points.runs, spoilt, strict=True) if is_spoilt]
    if not runs:
        return ()
    one = len(runs) == 1
    return (
        f"{len(runs)} run{'' if one else 's'} that neither the law nor a smooth discrepancy explains "
        f"count{'s' if one else ''} nothing, though {'it is' if one else 'they are'} on record: "
        f"{join_words([describe(run) for run in runs])}.",
    )


def misfit_notes(found: Posterior) -> tuple[str, ...]:
    """What the law misses beyond noise, where that is more than published sweeps have."""
    return _misfit_notes(found.middle)


def _misfit_notes(surfaces: Surfaces) -> tuple[str, ...]:
    plane, multiplier = surfaces.plane, NEAR.multiplier(surfaces.plane)
    away = pilot(plane, multiplier).residual(plane) / (multiplier * plane.loss)
    usual = int(np.bincount(surfaces.hypothesis).argmax())
    noise = np.mean(surfaces.residual[surfaces.hypothesis == usual] ** 2)
    misfit = math.sqrt(max(float(np.mean(away[~plane.spoilt] ** 2) - noise), 0))
    if misfit < LARGE_MISFIT:
        return ()
    return (
        f"The law misses the losses by about {format_percent(misfit)} beyond noise, smoothly in size and tokens; the "
        f"intervals allow for it, but look for what changes between the runs (learning rate, warm-up, batch).",
    )


def _floor_notes(surfaces: Surfaces) -> tuple[str, ...]:
    if float(np.median(surfaces.E)) > NO_FLOOR * float(surfaces.plane.loss.min()):
        return ()
    return (
        "The runs show no irreducible loss: the law that fits best has it at 0 or would have it below, where it is not "
        "allowed; losses far beyond the runs are guesses.",
    )
