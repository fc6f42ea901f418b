"""Budgets, target and spend of a question as FLOPs, from numbers or phrases."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from isoflop import arguments
from isoflop.compute.phrases import parse_compute
from isoflop.display.format import quoted
from isoflop.errors import PlanError
from isoflop.notes.note import Note

__all__ = ["Asked", "asked", "flops_of", "spend_of", "told_of"]


@dataclass(frozen=True)
class Asked:
    """Budgets, target and spend of a sweep in FLOPs; `spend` up to 1 is a share of the target.

    notes: assumptions made in reading them.
    """

    budgets: tuple[float, ...] | None
    target: float | None
    spend: float | None
    notes: tuple[Note, ...] = ()


def asked(
    budgets: Iterable[float | str] | float | str | None,
    target: float | str | None,
    spend: float | str | None,
) -> Asked:
    """Budgets, target and spend in FLOPs.

    Raises PlanError for a phrase that cannot be read, and for a value that is neither a phrase nor
    a number above 0.
    """
    listed = None if budgets is None else arguments.listed(budgets, "budgets", error=PlanError)
    return Asked(
        budgets=None if listed is None else tuple(flops_of(budget, "budgets") for budget in listed),
        target=None if target is None else flops_of(target, "target"),
        spend=None if spend is None else spend_of(spend),
        notes=tuple(
            dict.fromkeys(
                note for value in [*(listed or ()), target, spend] for note in told_of(value)
            )
        ),
    )


def flops_of(value: float | str, name: str = "target") -> float:
    """FLOPs of a number above 0 or of a phrase; `name` is the argument's name in errors."""
    if isinstance(value, str):
        return parse_compute(value).flops
    must = "FLOPs above 0, as a number or a phrase such as '1e21'"
    return float(arguments.positive(value, name, must=must, error=PlanError))


def spend_of(value: float | str) -> float:
    """What a sweep may cost: FLOPs, or a share of the target such as 1% or 0.01."""
    share = _share(value)
    if share is not None and not 0 < share <= 1:
        raise PlanError(f"spend may be a share of the target up to 100%, but got {quoted(value)}.")
    return flops_of(value, "spend") if share is None else share


def told_of(value: float | str | None) -> tuple[Note, ...]:
    """Notes on the assumptions made in reading a phrase."""
    return parse_compute(value).notes if isinstance(value, str) and _share(value) is None else ()


def _share(value: float | str) -> float | None:
    """The share that a phrase such as 1% gives; None for other values."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value) if isinstance(value, str) else None
    return None if match is None else float(match[1]) / 100
