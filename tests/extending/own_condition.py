"""A condition of one's own: one class that owns its law, and one for what it adds to the answer."""

from dataclasses import dataclass
from typing import ClassVar

from isoflop.answers.conditions.base import Condition, Effect
from isoflop.answers.outcome import Outcome
from isoflop.display.format import format_count, format_interval
from isoflop.errors import DataError
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.laws.base import CostPerToken, Number, Surface, cost_of


@dataclass(frozen=True, eq=False)
class NoisyLaw(Surface):
    """A law for data of which only a share is useful: D tokens count as share * D."""

    law: Surface
    share: float

    def loss(self, N: Number, D: Number) -> Number:
        return self.law.loss(N, self.share * D)

    def optimum(self, C: Number, flops_per_token: CostPerToken | None = None):
        cost = cost_of(flops_per_token)
        N, useful = self.law.optimum(C, lambda N: cost(N) / self.share)
        return N, useful / self.share

    def optimal_loss(self, C: Number, flops_per_token: CostPerToken | None = None):
        return self.loss(*self.optimum(C, flops_per_token))


@dataclass(frozen=True)
class Noise(Effect):
    """Its fields are its JSON values, its rows are printed."""

    useful: Estimate

    def rows(self) -> list[tuple[str, ...]]:
        useful = self.useful
        ends = format_interval(useful.low, useful.high)
        return [("useful tokens", format_count(useful.value), ends)]


@dataclass(frozen=True)
class NoisyData(Condition):
    """The target's data are noisier than the runs': only a share of the tokens is useful."""

    effect_name: ClassVar[str] = "noise"
    share: float

    def check(self, question: str, value: float) -> None:
        if not 0 < self.share <= 1:
            raise DataError(f"NoisyData: share must be in (0, 1], but got {self.share:g}.")

    def law(self, law: Surface, cost: CostPerToken | None) -> NoisyLaw:
        return NoisyLaw(law, self.share)

    def effect(self, outcome: Outcome) -> Noise:
        tokens, draws = outcome.middle.num_tokens, outcome.draws.num_tokens
        return Noise(estimate(self.share * float(tokens), self.share * draws, outcome.level))
