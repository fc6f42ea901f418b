"""SweepQuestion: the purpose of a sweep, and how its runs are chosen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from isoflop import arguments
from isoflop.compute.budget import flops_of, reading_notes, spend_of
from isoflop.errors import PlanError
from isoflop.notes.note import Note
from isoflop.planning.stage import DESIGNS, Design

__all__ = ["CheckRates", "SweepQuestion", "sweep_question"]

CheckRates = Literal["auto"] | bool | None
"""Whether learning rates are checked: "auto" where isoflop itself trains."""


@dataclass(frozen=True, kw_only=True)
class SweepQuestion:
    """Arguments of `plan`, with budgets, target and spend in FLOPs.

    spend: FLOPs of the whole sweep; up to 1, a share of the target.
    notes: assumptions about phrases, such as an MFU that was not given.
    """

    budgets: tuple[float, ...] | None = None
    target: float | None = None
    spend: float | None = None
    notes: tuple[Note, ...] = ()
    hardware: str | None = None
    design: Design = "auto"
    allow_far: bool = False
    forecast: bool = False
    check_rates: CheckRates = "auto"

    def checks_rates(self, *, is_trained_here: bool) -> bool:
        """Whether short runs beside the sweep check its learning rates and batches."""
        return is_trained_here if self.check_rates == "auto" else bool(self.check_rates)


def sweep_question(
    *,
    budgets: Iterable[float | str] | float | str | None = None,
    target: float | str | None = None,
    spend: float | str | None = None,
    hardware: str | None = None,
    design: str = "auto",
    allow_far: bool = False,
    forecast: bool = False,
    check_rates: CheckRates = "auto",
) -> SweepQuestion:
    """The question with its phrases read into FLOPs.

    Raises PlanError if a phrase cannot be read, a number is not positive, or budgets, target and
    spend do not go together.
    """
    listed = None if budgets is None else arguments.listed(budgets, "budgets", error=PlanError)
    question = SweepQuestion(
        budgets=None if listed is None else tuple(flops_of(budget, "budgets") for budget in listed),
        target=None if target is None else flops_of(target, "target"),
        spend=None if spend is None else spend_of(spend),
        notes=_assumptions([*(listed or ()), target, spend]),
        hardware=hardware,
        design=cast(Design, arguments.one_of(design, "design", DESIGNS, error=PlanError)),
        allow_far=arguments.flag(allow_far, "allow_far", error=PlanError),
        forecast=arguments.flag(forecast, "forecast", error=PlanError),
        check_rates=arguments.automatic(check_rates, "check_rates", error=PlanError),
    )
    _check(question)
    return question


def _assumptions(values: Iterable[float | str | None]) -> tuple[Note, ...]:
    """Notes on the assumptions about phrases, each once."""
    return tuple(dict.fromkeys(note for value in values for note in reading_notes(value)))


def _check(question: SweepQuestion) -> None:
    if question.budgets is not None:
        if question.spend is not None:
            raise PlanError(
                "budgets and spend both say how much the sweep may cost; give one of them."
            )
    elif question.target is None or question.spend is None:
        raise PlanError(
            "A plan needs budgets=[...], or target= with spend=; give the FLOPs that the sweep may "
            "cost."
        )
