"""Sweep: the runs to make next, what they cost and how precise they make the answer."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoflop import arguments
from isoflop.compute.compute import Compute, Hardware
from isoflop.counting.run_seconds import Bind
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
from isoflop.display.table import Column, Table
from isoflop.display.writers import to_csv, to_text
from isoflop.errors import ContractError, StoreError
from isoflop.extras import load_extra
from isoflop.fitting.kriging.run_value import design_condition
from isoflop.handout import command_line, filled, spec_values
from isoflop.notes.note import Note
from isoflop.planning.branches import shared
from isoflop.planning.forecast import (
    NOT_SIMULATED,
    NOTHING_TO_TRAIN,
    UNKNOWN,
    Forecast,
    NoForecast,
    Simulation,
)
from isoflop.planning.makespan import makespan
from isoflop.planning.sweep_table import specs_table
from isoflop.planning.times import goes_to
from isoflop.runs import RunSpec
from isoflop.storage.atomic import write_text
from isoflop.storage.store import StageStore
from isoflop.tabular import Tabular

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep"]


@dataclass(frozen=True, kw_only=True)
class Sweep(Tabular):
    """Planned runs, with their cost on this machine.

    seconds, mfu, memory_bytes: predictions per run id, on one worker; empty if unavailable. Seconds
        are those of the whole run, reading of data and evaluation included. MFU is the share of
        the peak of a matrix product that training reaches, both measured here.
    binds: what most of the time goes to: "compute", "overhead", "data" or "evaluation"; None if
        the times are unknown.
    hardware: accelerators that the plan is for; None for this machine.
    forecast: expected precision of the answer, or the reason why it is unknown.
    simulation: input of the forecast; None if nothing is left to train.
    checks: short runs beside the sweep that show whether its learning rates and batches are right;
        `train` trains them too, and no law takes them as its points.
    """

    specs: tuple[RunSpec, ...]
    checks: tuple[RunSpec, ...] = ()
    notes: tuple[Note, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: Mapping[str, float] = field(default_factory=dict)
    mfu: Mapping[str, float] = field(default_factory=dict)
    binds: Bind | None = None
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

    def rows(self) -> list[dict[str, int | float | str | None]]:
        """What a trainer needs of each run, by name, with its predicted seconds and memory.

        The names are those of the placeholders of `commands`.
        """
        return [
            {
                **spec_values(spec),
                "seconds": self.seconds.get(spec.id),
                "memory_bytes": self.memory_bytes.get(spec.id),
            }
            for spec in self.specs
        ]

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame. Raises InstallError where pandas is not installed."""
        pandas = load_extra("pandas", "tables")
        frame: pd.DataFrame = pandas.DataFrame(self.rows())
        return frame

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """The rows as CSV, written to a file if a path is given.

        With the losses in a column `loss` beside them, `read_runs(path, specs=sweep)` reads the
        results.

        Raises StoreError where the file cannot be written.
        """
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = Table(
            tuple(Column(name, name, str) for name in names),
            tuple(tuple(row.get(name) for name in names) for row in rows),
        )
        return _written(to_csv(table), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The rows as a JSON list of objects, written to a file if a path is given.

        Raises StoreError where the file cannot be written.
        """
        return _written(json.dumps(self.rows(), indent=1) + "\n", path)

    def commands(self, template: str, *, folder: str = "runs/{id}") -> list[str]:
        """One command line for each run, with its values quoted for a shell.

        template: a command with placeholders, such as
            `"python train.py --width {size} --steps {num_steps} --lr {lr:g} --out {folder}"`; the
            names are those of `rows`. Double braces stand for the command's own.
        folder: value of `{folder}`, with placeholders of its own.

        Raises ContractError for a placeholder that names no value, or a value that is left open.
        """
        arguments.word(template, "commands: template", "a command", error=ContractError)
        lines = []
        for row in self.rows():
            values = {**row, "folder": filled(folder, row)}
            lines.append(command_line(template, values))
        return lines

    def save(self, store: StageStore) -> None:
        """Keep the plan in a store, so that results can be told by the ids of its runs.

        `train` does not need this. Saving the same plan again changes nothing.
        """
        from isoflop.planning.records import plan_of  # it reads plans into sweeps

        if not self.specs:
            return
        ids = "".join(sorted(spec.id for spec in self.specs))
        name = hashlib.sha256(ids.encode()).hexdigest()[:16]
        if store.read_stage(name) is None:
            store.write_stage(name, self.specs, {"purpose": "handed out", **plan_of(self)})


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        write_text(Path(arguments.a_path(path, "Sweep: path", error=StoreError)), text)
    return text


def _headline(sweep: Sweep) -> str:
    if not sweep.specs:
        return "No runs to make"
    budgets = len({spec.budget for spec in sweep.specs} - {None})
    total = sweep.total_seconds
    when = (
        ""
        if total is None
        else f", about {format_duration(total)} on one worker of this machine{goes_to(sweep.binds)}"
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
