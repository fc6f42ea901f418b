"""Simulated worlds with a known optimum: a law, a smooth misfit that no law has, and noise.

Each world is drawn at random: alpha .34 +- .03, beta .37 +- .03, E 1.5 to 2, 20 tokens per param
best at the target within x/÷1.35, and a Gaussian process over (log N, log D) of length 1.8 on
log(L - E).

clean       no misfit; noise .2 % of the loss
mild        misfit .24 % of the loss, noise .2 %
strong      misfit .6 %, noise .3 %
asymmetric  alpha .5 and beta .28 (or the other way round), misfit .24 %, noise .2 %
tiny        mild, and models below 1e-4 of the target's best size get worse by 1 % for each factor e
            below that
"""

import math
from dataclasses import dataclass, field

import numpy as np

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array
from isoflop.runs import Run, RunSpec

TARGET = 1e23
WIDTH = 0.03
"""Standard deviation of both exponents."""
GUESS, GUESS_WIDTH = math.sqrt(TARGET / 6 / 20), 0.3
"""N of 20 tokens per param at the target, and the standard deviation of log best N around it."""
FLOORS, REDUCIBLE = (1.5, 2.0), (0.8, 1.2)
"""Of E, and of the reducible loss at 1e20 FLOPs, as public sweeps have it there."""
LENGTH, NUM_WAVES = 1.8, 256
TINY = 1e-4


@dataclass(frozen=True)
class Kind:
    noise: float = 0.002
    misfit: float = 0.0
    exponents: tuple[float, float] = (0.34, 0.37)
    tiny: float = 0.0


KINDS = {
    "clean": Kind(),
    "mild": Kind(misfit=0.0024),
    "strong": Kind(misfit=0.006, noise=0.003),
    "asymmetric": Kind(misfit=0.0024, exponents=(0.5, 0.28)),
    "tiny": Kind(misfit=0.0024, tiny=0.01),
}


def law_through(E: float, N: float, R: float, alpha: float, beta: float) -> ChinchillaLaw:
    """The law with best size N at the target and reducible loss R at the optimum of 1e20 FLOPs."""
    a = beta / (alpha + beta)
    there = N * (1e20 / TARGET) ** a
    A, B = R * a * there**alpha, R * (1 - a) * (1e20 / 6 / there) ** beta
    return ChinchillaLaw(E, A, B, alpha, beta)


@dataclass(frozen=True, eq=False)
class World:
    law: ChinchillaLaw
    kind: Kind
    best: float
    """N of the law's optimum at the target."""
    size: float
    """Of the misfit of log(L - E)."""
    waves: Array
    phases: Array
    random: np.random.Generator = field(repr=False)

    @classmethod
    def drawn(cls, name: str, seed: int) -> "World":
        kind, random = KINDS[name], np.random.default_rng([seed, *name.encode()])
        alpha, beta = random.permutation(kind.exponents) if name == "asymmetric" else kind.exponents
        alpha, beta, E = (
            random.normal(alpha, WIDTH),
            random.normal(beta, WIDTH),
            random.uniform(*FLOORS),
        )
        N = GUESS * math.exp(random.normal(0, GUESS_WIDTH))
        R = random.uniform(*REDUCIBLE)
        law = law_through(E, N, R, alpha, beta)
        waves, phases = (
            random.normal(0, 1 / LENGTH, (2, NUM_WAVES)),
            random.uniform(0, 2 * math.pi, NUM_WAVES),
        )
        return cls(law, kind, N, kind.misfit * (R + E) / R, waves, phases, random)

    def loss(self, N: Array, D: Array) -> Array:
        """True loss, without noise."""
        x, y = np.log(N)[..., None], np.log(D)[..., None]
        process = math.sqrt(2 / NUM_WAVES) * np.cos(
            x * self.waves[0] + y * self.waves[1] + self.phases
        ).sum(axis=-1)
        below = np.maximum(math.log(TINY * self.best) - np.log(N), 0)
        reducible = self.law.A / N**self.law.alpha + self.law.B / D**self.law.beta
        return (self.law.E + reducible * np.exp(self.size * process)) * (1 + self.kind.tiny * below)

    def run(self, N: float, D: float, budget: float | None) -> Run:
        loss = float(self.loss(np.array(N), np.array(D))) * (
            1 + self.kind.noise * self.random.standard_normal()
        )
        spec = RunSpec(num_params=N, num_tokens=D, flops=6 * N * D, budget=budget)
        return Run(spec=spec, status="completed", loss=loss, num_tokens=D, flops=6 * N * D)

    def optimum(self) -> float:
        """True N of the lowest loss at the target."""
        N = self.best * np.exp(np.linspace(-2.5, 2.5, 2001))
        return float(N[np.argmin(self.loss(N, TARGET / 6 / N))])

    def waste(self, N: float) -> float:
        """Share of the target's compute that training N params wastes.

        By the slope of the law's optimal loss.
        """
        at = np.array([N, self.optimum()])
        loss = self.loss(at, TARGET / 6 / at)
        R = self.law.optimal_loss(TARGET) - self.law.E
        slope = R * self.law.alpha * self.law.beta / (self.law.alpha + self.law.beta)
        return 1 - math.exp(-max(float(loss[0] - loss[1]), 0) / slope)
