"""Sweep: the runs to make next, what they cost and how precise they make the answer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from isoflop.compute.compute import Compute, Hardware
from isoflop.display.format import (
    format_bullets,
    format_duration,
    format_flops,
    format_html,
    format_items,
    format_money,
    format_number,
    format_percent,
)
from isoflop.display.table import Table
from isoflop.display.writers import to_text
from isoflop.fitting.kriging.run_value import design_condition
from isoflop.notes.note import Note
from isoflop.planning.branches import shared
from isoflop.planning.cost import makespan
from isoflop.planning.forecast import (
    NOT_SIMULATED,
    NOTHING_TO_TRAIN,
    UNKNOWN,
    Forecast,
    NoForecast,
    Simulation,
)
from isoflop.planning.sweep_table import specs_table
from isoflop.runs import RunSpec
from isoflop.tabular import Tabular

__all__ = ["Sweep"]


@dataclass(frozen=True, kw_only=True)
class Sweep(Tabular):
    """Planned runs, with their cost on this machine.

    seconds, mfu, memory_bytes: predictions per run id, on one worker; empty if unavailable. MFU is
        the share of the peak of a matrix product, both measured here.
    hardware: accelerators that the plan is for; None for this machine.
    forecast: expected precision of the answer, or the reason why it is unknown.
    simulation: input of the forecast; None if nothing is left to train.
    """

    specs: tuple[RunSpec, ...]
    notes: tuple[Note, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    mfu: Mapping[str, float] = field(default_factory=dict)
    hardware: Hardware | None = None
    unit: str = "token"
    forecast: Forecast | NoForecast = NOT_SIMULATED
    simulation: Simulation | None = field(default=None, repr=False, compare=False)

    def with_forecast(self) -> "Sweep":
        """The sweep with its forecast; a simulation of seconds, done once."""
        if self.forecast != NOT_SIMULATED:
            return self
        if not self.specs:
            return replace(self, forecast=NOTHING_TO_TRAIN)
        if self.simulation is None:
            return replace(self, forecast=UNKNOWN)
        return replace(self, forecast=self.simulation.forecast(self.specs))

    @property
    def condition(self) -> float:
        """Condition number of the design, as by `run_value.design_condition`.

        Infinite with fewer than 5 runs.
        """
        N, D = (
            np.array([getattr(spec, name) for spec in self.specs], float)
            for name in ("num_params", "num_tokens")
        )
        return design_condition(N, D)

    def makespan(self, num_workers: int) -> float | None:
        """Predicted seconds on so many workers of this machine, longest runs first.

        None if the times are unknown.
        """
        return makespan(self.seconds.values(), num_workers) if self.seconds else None

    @property
    def flops(self) -> float:
        """FLOPs of all runs together, a trunk that several share counted once."""
        return sum(spec.flops for spec in self.specs) - shared(self.specs, lambda spec: spec.flops)

    @property
    def total_seconds(self) -> float | None:
        """Predicted seconds on one worker; None where they could not be predicted."""
        if not self.seconds:
            return None
        total = sum(self.seconds[spec.id] for spec in self.specs)
        return total - shared(self.specs, lambda spec: self.seconds[spec.id])

    @property
    def compute(self) -> Compute:
        """FLOPs of all runs together, with hours, days and money on the named hardware."""
        spent = Compute(flops=self.flops)
        return spent if self.hardware is None else spent.on(self.hardware)

    def __len__(self) -> int:
        return len(self.specs)

    def __str__(self) -> str:
        parts = (_headline(self), to_text(self.table()), format_bullets(_notes(self)))
        return "\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        table = self.table()
        return format_html(_headline(self), [[table.headings(), *table.cells()]], _notes(self))

    def table(self) -> Table:
        """One row for each run, with its cost."""
        return specs_table(self.specs, self.seconds, self.memory_bytes, self.mfu, self.hardware)


def _headline(sweep: Sweep) -> str:
    if not sweep.specs:
        return "No runs to make"
    budgets = len({spec.budget for spec in sweep.specs} - {None})
    total = sweep.total_seconds
    when = (
        "" if total is None else f", about {format_duration(total)} on one worker of this machine"
    )
    where = f" at {format_items(budgets, 'budget')}" if budgets else ""
    here = (
        f"{format_items(len(sweep.specs), 'run')}{where}: {format_flops(sweep.flops)} FLOPs{when}"
    )
    return here if sweep.hardware is None else f"{here}; {_elsewhere(sweep, sweep.hardware)}"


def _notes(sweep: Sweep) -> tuple[str, ...]:
    """The forecast and the condition of the design, before the notes of the sweep."""
    if not sweep.specs:
        return sweep.notes
    condition = f"Condition number of the design: {format_number(sweep.condition, 2)}."
    return (
        str(sweep.forecast),
        *([condition] if math.isfinite(sweep.condition) else []),
        *sweep.notes,
    )


def _elsewhere(sweep: Sweep, hardware: Hardware) -> str:
    """The sweep on the hardware that it was planned for."""
    compute = sweep.compute
    hours, paid_for = compute.device_hours or 0.0, compute.money
    paid = "" if paid_for is None else f", {format_money(paid_for, hardware.currency)}"
    longest = (
        max(spec.flops for spec in sweep.specs) / hardware.flops_per_second
    )  # a run is on one of them
    least = format_duration(max(longest, compute.seconds or 0.0))
    mfu, name = format_percent(hardware.mfu), hardware.accelerator.name
    return (
        f"{format_number(hours)} {name} hours at {mfu} MFU, at least {least} on "
        f"{hardware.number}{paid}"
    )
