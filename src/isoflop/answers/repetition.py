"""Repetition: how often an answer passes over finite data, and what that is worth."""

from dataclasses import dataclass

from isoflop.answers.search import Found
from isoflop.display.format import (
    format_count,
    format_flops,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.fit import Fit
from isoflop.laws.base import Number
from isoflop.laws.inverses import flops_for
from isoflop.laws.other_laws import DataConstrainedLaw
from isoflop.laws.repeated import RepeatedLaw

__all__ = ["NEARLY_FREE", "Repetition", "repetition_notes", "repetition_of", "used_up_notes"]

NEARLY_FREE = 4.0
"""Epochs up to which repeated tokens are worth about as much as new ones (Muennighoff et al. 2023, 2305.16264)."""

NOTHING, USED_UP = 0.001, 3.0
"""A relative difference of the loss that no one would pay for, and the factor of compute that makes it worth a note."""


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Passes over the `unique_tokens` that there are."""

    unique_tokens: float
    epochs: Estimate
    """Tokens trained on, in passes over the distinct ones; below 1 where not all of them are needed."""
    worth: Estimate
    """Distinct tokens that would do as much as those trained on."""

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of the printed answer: what, value, interval."""
        epochs = format_interval(self.epochs.low, self.epochs.high, format_number)
        worth = format_interval(self.worth.low, self.worth.high)
        return [
            ("epochs", format_number(self.epochs.value), epochs),
            ("effective tokens", format_count(self.worth.value), worth),
        ]


def repetition_of(law: RepeatedLaw, num_tokens: float, draws: Number, level: float) -> Repetition:
    """Passes of the tokens of an answer, and of the tokens of its draws."""
    return Repetition(
        unique_tokens=law.unique,
        epochs=estimate(num_tokens / law.unique, draws / law.unique, level),
        worth=estimate(law.effective(1.0, num_tokens)[1], law.effective(1.0, draws)[1], level),
    )


def repetition_notes(found: Repetition, law: RepeatedLaw, fit: Fit) -> tuple[str, ...]:
    """What to doubt about an answer that repeats its data."""
    notes = []
    if found.epochs.value > NEARLY_FREE:
        notes.append(
            f"It passes {format_number(found.epochs.value)} times over the {format_count(found.unique_tokens)} distinct "
            f"tokens; beyond {NEARLY_FREE:.0f} epochs repeated tokens are worth much less than new ones, and models "
            f"may overfit."
        )
    if found.epochs.value > 1 and not _is_own(law, fit):
        notes.append(
            f"What repeated tokens are worth is as published (Muennighoff et al. 2023: R_D {law.R_D:g}, R_N "
            f"{law.R_N:g}), not measured in these runs."
        )
    return tuple(notes)


def used_up_notes(found: Found) -> tuple[str, ...]:
    """A note where far less compute does as well, because the data have nothing left to teach."""
    place = found.middle
    enough = float(flops_for(place.law, "loss", place.known_loss * (1 + NOTHING), found.cost))
    if not enough < place.C / USED_UP:
        return ()
    return (
        f"The data are used up: {format_flops(enough)} FLOPs reach the same loss to {format_percent(NOTHING, 1)}, so bring "
        f"more data or spend less; what is best here is hardly determined.",
    )


def _is_own(law: RepeatedLaw, fit: Fit) -> bool:
    """Whether the worth of a repetition is the user's, or one under which runs with repeated data were fitted."""
    if not isinstance(fit.law, DataConstrainedLaw):
        return False
    published = (law.R_D, law.R_N) == (DataConstrainedLaw.R_D, DataConstrainedLaw.R_N)
    return not published or any((run.spec.epochs or 0) > 1 for run in fit.runs)
