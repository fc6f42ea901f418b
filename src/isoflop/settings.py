"""Settings: how one run is trained, complete, as a trainer needs it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from isoflop.display.format import quoted
from isoflop.errors import PlanError
from isoflop.recipe import Precision, Schedule, Size

__all__ = ["Settings", "complete", "open_setting"]

_MAY_BE_NONE = ("clip", "ema", "epochs", "unique_tokens", "trunk")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one run is trained: its recipe with every rule resolved, and no setting left open."""

    size: Size
    """Value of the task's size parameter."""
    batch: int
    """Examples per optimiser step, over all processes."""
    tokens_per_example: float
    lr: float
    """Peak learning rate."""
    beta1: float
    beta2: float
    weight_decay: float
    warmup: float
    """Share of the run in which the learning rate rises."""
    schedule: Schedule
    cooldown: float
    """Share of the run in which a wsd schedule cools down; 0 for other schedules."""
    clip: float | None
    """Largest gradient norm; None for no clipping."""
    precision: Precision
    ema: float | None
    """Share of the run over which the evaluated weights are averaged; None for the last ones."""
    epochs: float | None
    """Passes over the training data that the tokens need; None where its length is unknown."""
    unique_tokens: float | None
    """Tokens of the part of the data that is passed over `epochs` times; None for all data."""
    trunk: str | None
    """Name of the constant-rate trunk that the run shares; None for a separate run."""


def complete(values: Mapping[str, object]) -> Settings:
    """The settings among the fields of a spec.

    Raises PlanError where they leave open one that training needs.
    """
    held = {each.name: values[each.name] for each in fields(Settings)}
    if held["cooldown"] is None and held["schedule"] != "wsd":
        held["cooldown"] = 0.0
    for name, value in held.items():
        if value is None and name not in _MAY_BE_NONE:
            raise open_setting(name, held["size"])
    return Settings(**held)  # type: ignore[arg-type]


def open_setting(name: str, size: object) -> PlanError:
    """The error of a spec that leaves a setting open."""
    return PlanError(
        f"A run to be trained must have its {name}, but that of size {quoted(size)} leaves it "
        "open; create runs with plan()."
    )
