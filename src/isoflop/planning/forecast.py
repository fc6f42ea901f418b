"""How precise the answer of a sweep will be, from simulating it before anything is trained.

Worlds are drawn from the laws that the runs so far leave possible or, before any run, from those
of public sweeps. Each gets a smooth misfit and noise, of the usual size or of the size that the
runs show. Its losses are simulated at the planned runs and fitted as the real ones will be.
N params, D tokens, L loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.display.format import format_flops, format_number, format_percent
from isoflop.errors import DataError
from isoflop.fitting.kriging.approach import FEWEST, Kriging
from isoflop.fitting.kriging.run_value import Laws
from isoflop.fitting.screening.screen import screen
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import Array
from isoflop.planning.candidates import Ladder, Place
from isoflop.planning.earlier_runs import usable
from isoflop.planning.lean import lean_stage
from isoflop.planning.sequential import NUM_DRAWS, known_of, next_stage
from isoflop.runs import Run, RunSpec

__all__ = [
    "NOTHING_TO_TRAIN",
    "NOT_SIMULATED",
    "NO_LAW",
    "UNKNOWN",
    "Forecast",
    "NoForecast",
    "Simulation",
]

LEVEL = 0.9
NUM_WORLDS, NUM_WAVES = 12, 128
EXPONENT, EXPONENT_WIDTH, CENTRE_WIDTH = 0.5, 0.3, math.log(2)
"""Prior before any run: median of alpha and beta, standard deviations of their logs and log N_opt.

In nine public sweeps alpha is .15 to .58 and beta .27 to .80; N_opt lies around 20 tokens per
param.
"""
NOISE, MISFIT, REDUCIBLE, LENGTH = 0.0035, 0.010, 0.3, 1.2
"""Noise of a run, misfit of the law and reducible part, as shares of the loss; the misfit's length.

The length is in log params or log tokens. Medians of kriging's estimates in nine public sweeps:
.0026 to .0052, .005 to .014, .18 to .52 and 1.2 to 1.9 (benchmarks/design/promised.py).
"""
USUAL_RUNS = 10
"""Weight of the usual noise and misfit, in runs beyond the fewest that give a law."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How precise the answer at `target` FLOPs is expected to be.

    factor: half-width of the interval of the best N, as a factor: x/÷1.3 is 1.3.
    waste: share of the target's compute that following the answer is expected to waste.
    """

    target: float
    factor: float
    waste: float
    level: float = LEVEL

    def __str__(self) -> str:
        return (
            f"Expected precision at {format_flops(self.target)} FLOPs: best N to within a factor "
            f"of {format_number(self.factor, 2)} ({format_percent(self.level)} interval); expected "
            f"waste {format_percent(self.waste)} of the target's compute."
        )


@dataclass(frozen=True)
class NoForecast:
    """Why there is no forecast."""

    reason: str

    def __str__(self) -> str:
        return self.reason


NOTHING_TO_TRAIN = NoForecast("Nothing is left to train, so there is nothing to forecast.")
NO_LAW = NoForecast(
    "Forecast: these runs are not expected to show a law; plan more budgets or sizes, or spend "
    "more."
)
NOT_SIMULATED = NoForecast(
    "Forecast: not simulated yet; plan(..., forecast=True) or sweep.with_forecast() gives the "
    "expected precision."
)
UNKNOWN = NoForecast("Forecast: unknown, since the sweep was not planned from a task.")


@dataclass(frozen=True, eq=False)
class Simulation:
    """Input of a forecast's simulation.

    known: runs so far.
    spend: FLOPs of the whole sweep if more stages follow; None if the specs are all of it.
    lean: True if the stages are the budgets of a lean sweep.
    """

    target: float
    ladder: Ladder
    known: tuple[Run, ...] = ()
    spend: float | None = None
    lean: bool = False

    @one_blas_thread
    @np.errstate(all="ignore")  # draws without an answer are NaN or infinite
    def forecast(self, specs: Sequence[RunSpec]) -> Forecast | NoForecast:
        """The forecast of the specs and of the stages after them."""
        random = np.random.default_rng(0)
        trained = usable(self.known)
        known = known_of(trained, self.ladder, self.target) if trained else None
        laws = _prior(self.target, random) if known is None else Laws.of(known.draws, NUM_WORLDS)
        errors = _errors(trained)
        planned = [Place(s.num_params, s.num_tokens, s.flops, s.budget) for s in specs]
        earlier = [Place(r.num_params, r.num_tokens, r.flops, r.budget) for r in trained]
        places = [*earlier, *planned]
        outcomes = [
            self._outcome(_World.drawn(laws, k, errors, random), places) for k in range(len(laws.E))
        ]
        answers = [outcome for outcome in outcomes if outcome is not None]
        if len(answers) < NUM_WORLDS / 2:
            return NO_LAW
        factor, waste = np.median([one[0] for one in answers]), np.mean([one[1] for one in answers])
        return Forecast(target=self.target, factor=float(factor), waste=float(waste))

    def _outcome(self, world: "_World", places: Sequence[Place]) -> tuple[float, float] | None:
        """Half-width of the interval and expected waste in one world."""
        runs = [world.run(place) for place in places]
        while self.spend is not None:
            if self.lean:
                stage = lean_stage(runs, self.ladder, spend=self.spend)
            else:
                stage = next_stage(runs, self.ladder, target=self.target, spend=self.spend)
            if not stage.places:  # finished, or the data allows none of them
                break
            runs += [world.run(place) for place in stage.places]
        known = known_of(runs, self.ladder, self.target)
        if known is None:
            return None
        factor = known.factor(LEVEL)
        return (factor, known.waste) if math.isfinite(factor) else None


@dataclass(frozen=True, eq=False)
class _World:
    """A law with noise and a smooth misfit of log(L - E).

    The misfit is a sum of random waves (Rahimi and Recht 2007).
    """

    law: tuple[float, ...]
    noise: float
    misfit: float
    waves: Array
    phases: Array
    random: np.random.Generator

    @classmethod
    def drawn(
        cls, laws: Laws, row: int, errors: tuple[float, float], random: np.random.Generator
    ) -> "_World":
        law = tuple(
            float(values[row]) for values in (laws.E, laws.A, laws.B, laws.alpha, laws.beta)
        )
        waves, phases = (
            random.normal(0, 1 / LENGTH, (2, NUM_WAVES)),
            random.uniform(0, 2 * math.pi, NUM_WAVES),
        )
        return cls(law, *errors, waves, phases, random)

    def run(self, place: Place) -> Run:
        E, A, B, alpha, beta = self.law
        x, y = math.log(place.num_params), math.log(place.num_tokens)
        process = math.sqrt(2 / NUM_WAVES) * float(
            np.cos(x * self.waves[0] + y * self.waves[1] + self.phases).sum()
        )
        falling = A * math.exp(-alpha * x) + B * math.exp(-beta * y)
        size = self.misfit * (1 + E / falling)
        loss = (E + falling * math.exp(size * process)) * math.exp(
            self.noise * self.random.standard_normal()
        )
        spec = RunSpec(
            num_params=place.num_params,
            num_tokens=place.num_tokens,
            flops=place.flops,
            budget=place.budget,
        )
        return Run(
            spec=spec, status="completed", loss=loss, num_tokens=place.num_tokens, flops=place.flops
        )


def _errors(trained: Sequence[Run]) -> tuple[float, float]:
    """Noise and misfit: the usual ones, shrunk towards kriging's estimates as runs are added."""
    try:
        posterior = Kriging().posterior(screen(trained).points)
    except DataError:
        return NOISE, MISFIT
    noise, misfit = posterior.draw(NUM_DRAWS, np.random.default_rng(0)).errors
    free = max(len(trained) - FEWEST, 0)
    share = free / (free + USUAL_RUNS)
    return NOISE * (noise / NOISE) ** share, MISFIT * (misfit / MISFIT) ** share


def _prior(target: float, random: np.random.Generator) -> Laws:
    """Laws as different as those of public sweeps, with REDUCIBLE at a hundredth of the target."""
    alpha, beta = (
        EXPONENT * np.exp(random.normal(0, EXPONENT_WIDTH, NUM_WORLDS)) for _ in range(2)
    )
    there = target / 100
    N = np.sqrt(there / 6 / 20) * np.exp(random.normal(0, CENTRE_WIDTH, NUM_WORLDS))
    falling = REDUCIBLE / (1 - REDUCIBLE)
    A = falling * beta / (alpha + beta) * N**alpha
    B = falling * alpha / (alpha + beta) * (there / 6 / N) ** beta
    return Laws(np.full(NUM_WORLDS, 1.0), A, B, alpha, beta)
