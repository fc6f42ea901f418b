"""Kriging: a law, a smooth discrepancy and noise, all integrated over; the default answer and its honest interval.

N params, D tokens, C FLOPs, L loss; x, y centred logs of N and D, c = x + y. The errors of a law on real sweeps are
smooth in (x, y), not independent, so that resampling runs or a delta method gives intervals that hold the truth in a
third of the cases. Universal kriging (Matheron 1969) with the exponents, the size and the length of the discrepancy
integrated over (`exponents`, `discrepancy`, `posterior`) does not have this fault.
"""

import math
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from isoflop import text
from isoflop.errors import DataError
from isoflop.fitting.approach import Solved
from isoflop.fitting.discrepancy import NEAR, Plane, covariances, hypotheses, pilot
from isoflop.fitting.exponents import integrate
from isoflop.fitting.laws import ChinchillaLaw, CostPerToken, cheapest_size
from isoflop.fitting.points import Array, Points
from isoflop.fitting.posterior import Surfaces, Valley, drawn, standing
from isoflop.fitting.screening import describe
from isoflop.fitting.spoilt import find_spoilt

__all__ = ["KrigedLaw", "Kriging"]

MOST_RUNS = 300
"""Memory and time grow with the square and the cube of the runs; 300 take .5 s on one core."""
NUM_STANDING = 250
FEWEST = 6
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
        if not all(np.isnan(value) for value in vars(self.law).values()):
            raise DataError(
                f"Kriging integrates over the numbers of its law, so none can be held, but got {self.law}; "
                f"use Parametric(law=...) to hold some."
            )
        if not self.lengths or not self.ratios or min(*self.lengths, *self.ratios) <= 0:
            raise DataError(
                f"Kriging: lengths and ratios must be above 0, one at least of each, "
                f"but got {self.lengths} and {self.ratios}."
            )

    def solve(self, points: Points) -> Solved:
        """The kriged law of some points; Raises DataError where they cannot determine it."""
        _require_enough(points)
        used = _nearest(points)
        spoilt = find_spoilt(used)
        plane = Plane.of(used, spoilt)
        given = covariances(plane, hypotheses(self.lengths, self.ratios))
        grid = integrate(given.whiteners, given.log_prior, plane.x, plane.y, plane.loss)
        if not grid.possible:
            raise DataError(
                "Kriging found no law whose loss falls with both size and tokens in these runs; "
                "look at the runs, or add some with fewer and with more tokens per param."
            )

        def draw(number: int, random: np.random.Generator) -> KrigedLaw:
            return _law(drawn(plane, given, grid, number, random), middle=False)

        middle = standing(plane, given, grid, NUM_STANDING)
        return Solved(
            law=_law(middle, middle=True),
            objective=-grid.log_evidence,
            draw=draw,
            num_parameters=5,
            notes=(*_left_out_notes(points, used), *_spoilt_notes(used, spoilt), *_misfit_notes(middle)),
        )


@dataclass(frozen=True, eq=False)
class KrigedLaw:
    """The law under a discrepancy, with numbers for the posterior's middle or arrays of shape (B,) for its draws.

    E, A, B, alpha, beta: the law's; the optimum and its loss include the discrepancy, so they are not the law's alone.
    """

    E: Any
    A: Any
    B: Any
    alpha: Any
    beta: Any
    surfaces: InitVar[Surfaces]

    def __str__(self) -> str:
        values = (self.E, self.A, self.B, self.alpha, self.beta)
        E, A, B, alpha, beta = (text.number(float(np.median(value)), 3) for value in values)
        return f"L = {E} + {A} / N^{alpha} + {B} / D^{beta}, and a smooth discrepancy"

    def __post_init__(self, surfaces: Surfaces) -> None:
        object.__setattr__(self, "_surfaces", surfaces)

    def optimum(self, C: Any, flops_per_token: CostPerToken | None = None) -> tuple[Any, Any]:
        """(N, D) of the lowest loss that C FLOPs pay for, where a token costs flops_per_token(N), 6N by default."""
        N = np.exp(self._valley(np.log(np.asarray(C, dtype=float) / 6)).x)
        if flops_per_token is None:
            return _plain(N), _plain(C / (6 * N))
        place = np.log(C) + np.log(N) - np.log(flops_per_token(N))  # of N and what C pays for at N
        N = cheapest_size(self._near(place).loss_at, C, flops_per_token, around=N, reach=10.0)
        return _plain(N), _plain(C / flops_per_token(N))

    def optimal_loss(self, C: Any, flops_per_token: CostPerToken | None = None) -> Any:
        """Loss of the optimum at C FLOPs."""
        if flops_per_token is None:
            return _plain(self._valley(np.log(np.asarray(C, dtype=float) / 6)).loss)
        return self.loss(*self.optimum(C, flops_per_token))

    def loss(self, N: Any, D: Any) -> Any:
        """Loss of N params trained on D tokens: that of the valley at N D, and the law's rise on either side of it."""
        log_N = np.log(np.asarray(N, dtype=float))
        valley = self._valley(log_N + np.log(np.asarray(D, dtype=float)))
        return _plain(valley.loss + valley.reducible * self._rise(log_N - valley.x))

    def _rise(self, away: Array) -> Array:
        """Of the law along an isoFLOP, in units of its reducible loss at the minimum, `away` log N from it."""
        total = self.alpha + self.beta
        return np.asarray((self.beta * np.exp(-self.alpha * away) + self.alpha * np.exp(self.beta * away)) / total - 1)

    def _valley(self, log_ND: Array) -> Valley:
        """Log N, loss and reducible loss of the optimum among all (N, D) of one product."""
        surfaces = self._given
        shift = sum(surfaces.plane.middle)
        if np.ndim(self.E) == 0:
            x, loss, reducible = np.moveaxis(self._table(log_ND - shift), -1, 0)
        else:
            found = surfaces.valley(log_ND - shift)
            x, loss, reducible = found.x, found.loss, found.reducible
        return Valley(x + surfaces.plane.middle[0], loss, reducible)

    @property
    def _given(self) -> Surfaces:
        surfaces: Surfaces = self.__dict__["_surfaces"]
        return surfaces

    @cached_property
    def _table(self) -> PchipInterpolator:
        """Medians over the surfaces as functions of c: log N, loss, reducible loss."""
        c = self._given.plane.c
        inside = np.arange(c.min() - 1, c.max() + 1.5, 0.35)
        outside = np.array([1, 2, 4, 8, 15, 30, 50])
        places = np.concatenate([inside[0] - outside[::-1], inside, inside[-1] + outside])
        found = self._given.valley(places[:, None])
        medians = np.stack([np.median(values, axis=1) for values in (found.x, found.loss, found.reducible)], axis=1)
        return PchipInterpolator(places, medians, extrapolate=True)

    def _near(self, log_ND: Array) -> "_Near":
        step = 0.05
        below, here, above = (self._valley(log_ND + side * step) for side in (-1, 0, 1))
        rate, fall = (above.x - below.x) / (2 * step), (above.loss - below.loss) / (2 * step)
        return _Near(self, log_ND, here, rate, fall)


@dataclass(frozen=True, eq=False)
class _Near:
    """A kriged law to first order in log N D around one place, so that a search costs no kriging."""

    law: KrigedLaw
    place: Array
    valley: Valley
    rate: Array
    fall: Array

    def loss_at(self, N: Any, D: Any) -> Any:
        log_N = np.log(N)
        step = log_N + np.log(D) - self.place
        rise = self.law._rise(log_N - self.valley.x - self.rate * step)
        return self.valley.loss + self.fall * step + self.valley.reducible * rise


def _law(surfaces: Surfaces, *, middle: bool) -> KrigedLaw:
    """In params and tokens instead of centred logs."""
    x, y = surfaces.plane.middle
    A, B = surfaces.A * np.exp(surfaces.alpha * x), surfaces.B * np.exp(surfaces.beta * y)
    if not middle:
        return KrigedLaw(surfaces.E, A, B, surfaces.alpha, surfaces.beta, surfaces)
    alpha, beta = float(np.median(surfaces.alpha)), float(np.median(surfaces.beta))
    size, data = float(np.median(surfaces.A)) * math.exp(alpha * x), float(np.median(surfaces.B)) * math.exp(beta * y)
    return KrigedLaw(float(np.median(surfaces.E)), size, data, alpha, beta, surfaces)


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _require_enough(points: Points) -> None:
    configurations = len(set(zip(points.N, points.D, strict=True)))
    if configurations < FEWEST:
        raise DataError(
            f"Kriging needs at least {FEWEST} runs of different size or tokens, but got {configurations}; "
            f"add runs at other sizes and budgets."
        )
    for values, what in ((points.N, "sizes"), (points.D, "numbers of tokens")):
        if len(np.unique(values)) < 3:
            raise DataError(
                f"Kriging needs at least 3 different {what}, but got {len(np.unique(values))}; "
                f"add runs at other {what}."
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
        f"{text.and_list([describe(run) for run in runs])}.",
    )


def _misfit_notes(surfaces: Surfaces) -> tuple[str, ...]:
    """What the law misses beyond noise, where that is more than published sweeps have."""
    plane, multiplier = surfaces.plane, NEAR.multiplier(surfaces.plane)
    away = pilot(plane, multiplier).residual(plane) / (multiplier * plane.loss)
    usual = int(np.bincount(surfaces.hypothesis).argmax())
    noise = np.mean(surfaces.residual[surfaces.hypothesis == usual] ** 2)
    misfit = math.sqrt(max(float(np.mean(away[~plane.spoilt] ** 2) - noise), 0))
    if misfit < LARGE_MISFIT:
        return ()
    return (
        f"The law misses the losses by about {text.percent(misfit)} beyond noise, smoothly in size and tokens; the "
        f"intervals allow for it, but look for what changes between the runs (learning rate, warm-up, batch).",
    )
