"""UniqueTokens: the number of distinct tokens is finite; and how often an answer repeats them."""

from dataclasses import dataclass
from typing import ClassVar

from isoflop import arguments
from isoflop.answers.conditions.base import Condition, Effect
from isoflop.answers.outcome import LawOptimum, Outcome
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import CostPerToken, Surface
from isoflop.laws.inverses import flops_for
from isoflop.laws.other_laws import PUBLISHED_RATES, DataConstrainedLaw
from isoflop.laws.repeated import RepeatedLaw, repeated_law
from isoflop.notes.note import Note

__all__ = ["Repetition", "UniqueTokens"]

NEARLY_FREE = 4.0
"""Epochs up to which repeated tokens are worth about as much as new ones (Muennighoff et al. 2023,
2305.16264)."""
NOTHING, USED_UP = 0.001, 3.0
"""A negligible relative difference of the loss, and the factor of compute that it may waste before
a note says so."""


@dataclass(frozen=True, kw_only=True)
class Repetition(Effect):
    """Passes over the `unique_tokens` available."""

    unique_tokens: float
    epochs: Estimate
    """Passes over the distinct tokens; below 1 where not all of them are needed."""
    worth: Estimate
    """Number of distinct tokens that would give the same loss."""

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the printed answer: quantity, value, interval."""
        epochs = format_interval(self.epochs.low, self.epochs.high, format_number)
        worth = format_interval(self.worth.low, self.worth.high)
        return [
            ("epochs", format_number(self.epochs.value), epochs),
            ("effective tokens", format_count(self.worth.value), worth),
        ]


@dataclass(frozen=True)
class UniqueTokens(Condition):
    """Only `tokens` distinct tokens are available. Training longer repeats some of them."""

    argument: ClassVar[str] = "unique_tokens"
    effect_name: ClassVar[str] = "repetition"
    tokens: float

    @classmethod
    def of(cls, value: object) -> "UniqueTokens":
        """The condition of a number such as "300B". Raises DataError for anything else."""
        return cls(float(arguments.count(value, "predict: unique_tokens")))

    def law(self, law: Surface, cost: CostPerToken | None) -> RepeatedLaw:
        """The law in effective params and tokens."""
        return repeated_law(law, self.tokens, cost)

    def effect(self, outcome: Outcome) -> Repetition:
        """Passes of the answer's tokens over the distinct ones, and their worth."""
        law, level = self._repeated(outcome.middle), outcome.level
        tokens, draws = float(outcome.middle.num_tokens), outcome.draws.num_tokens
        return Repetition(
            unique_tokens=law.unique,
            epochs=estimate(tokens / law.unique, draws / law.unique, level),
            worth=estimate(law.effective(1.0, tokens)[1], law.effective(1.0, draws)[1], level),
        )

    def notes(self, outcome: Outcome, fit: Fit) -> tuple[Note, ...]:
        """Reasons to doubt an answer that repeats its data."""
        law = self._repeated(outcome.middle)
        epochs = float(outcome.middle.num_tokens) / self.tokens
        return (
            *(self._epochs_notes(epochs)),
            *(_published_notes(law) if epochs > 1 and not _is_own(law, fit) else ()),
            *_used_up_notes(outcome),
        )

    def _repeated(self, place: LawOptimum) -> RepeatedLaw:
        law = place.law_after(self)
        assert isinstance(law, RepeatedLaw)
        return law

    def _epochs_notes(self, epochs: float) -> tuple[Note, ...]:
        if epochs <= NEARLY_FREE:
            return ()
        text = (
            f"It passes {format_number(epochs)} times over the {format_count(self.tokens)} "
            f"distinct tokens; beyond {NEARLY_FREE:.0f} epochs repeated tokens are worth much less "
            f"than new ones, and models may overfit."
        )
        return (Note("many-epochs", text),)


def _published_notes(law: RepeatedLaw) -> tuple[Note, ...]:
    text = (
        f"What repeated tokens are worth is as published (Muennighoff et al. 2023: R_D "
        f"{law.R_D:g}, R_N {law.R_N:g}), not measured in these runs."
    )
    return (Note("published-repetition", text),)


def _used_up_notes(outcome: Outcome) -> tuple[Note, ...]:
    """A note where far less compute reaches nearly the same loss: the data are exhausted."""
    place = outcome.middle
    enough = float(flops_for(place.law, "loss", place.known_loss * (1 + NOTHING), outcome.cost))
    if not enough < place.C / USED_UP:
        return ()
    text = (
        f"The data are used up: {format_flops(enough)} FLOPs reach the same loss to "
        f"{format_percent(NOTHING, 1)}, so bring more data or spend less; what is best here is "
        f"hardly determined."
    )
    return (Note("data-used-up", text),)


def _is_own(law: RepeatedLaw, fit: Fit) -> bool:
    """Whether the worth of a repetition is the user's, or one fitted to runs with repeated data."""
    if not isinstance(fit.law, DataConstrainedLaw):
        return False
    published = (law.R_D, law.R_N) == PUBLISHED_RATES
    return not published or any((run.spec.epochs or 0) > 1 for run in fit.runs)
