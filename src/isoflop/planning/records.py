"""A sweep as plain values that a store keeps, and back: a plan that is read back is the plan."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from isoflop.compute.accelerators import find_accelerator
from isoflop.compute.compute import Hardware
from isoflop.notes.note import Note
from isoflop.planning.candidates import Ladder
from isoflop.planning.forecast import NOT_SIMULATED, Forecast, NoForecast, Simulation
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run, RunSpec

__all__ = ["plan_of", "sweep_of"]


def plan_of(sweep: Sweep) -> dict[str, Any]:
    """All of a sweep but its specs, as values that JSON can hold."""
    return {
        "notes": _of_notes(sweep.notes),
        "seconds": dict(sweep.seconds),
        "memory_bytes": dict(sweep.memory_bytes),
        "mfu": dict(sweep.mfu),
        "unit": sweep.unit,
        "hardware": None if sweep.hardware is None else _of_hardware(sweep.hardware),
        "forecast": _of_forecast(sweep.forecast),
        "simulation": None if sweep.simulation is None else _of_simulation(sweep.simulation),
    }


def sweep_of(specs: tuple[RunSpec, ...], plan: Mapping[str, Any], runs: Sequence[Run]) -> Sweep:
    """The sweep of some specs and what `plan_of` said of it.

    runs: those that were known when it was planned; others are left out.
    """
    return Sweep(
        specs=specs,
        notes=_notes(plan["notes"]),
        seconds=plan["seconds"],
        memory_bytes=plan["memory_bytes"],
        mfu=plan["mfu"],
        unit=plan["unit"],
        hardware=None if plan["hardware"] is None else _hardware(plan["hardware"]),
        forecast=_forecast(plan["forecast"]),
        simulation=None if plan["simulation"] is None else _simulation(plan["simulation"], runs),
    )


def _of_notes(notes: Sequence[Note]) -> list[list[str]]:
    return [[note.code, str(note)] for note in notes]


def _notes(values: Sequence[Sequence[str]]) -> tuple[Note, ...]:
    return tuple(Note(code, text) for code, text in values)


def _of_hardware(hardware: Hardware) -> dict[str, Any]:
    return {
        **vars(hardware),
        "accelerator": hardware.accelerator.name,
        "notes": _of_notes(hardware.notes),
    }


def _hardware(values: Mapping[str, Any]) -> Hardware:
    accelerator = find_accelerator(values["accelerator"])
    return Hardware(**{**values, "accelerator": accelerator, "notes": _notes(values["notes"])})


def _of_forecast(forecast: Forecast | NoForecast) -> dict[str, Any] | None:
    return None if forecast is NOT_SIMULATED else dict(vars(forecast))


def _forecast(values: Mapping[str, Any] | None) -> Forecast | NoForecast:
    if values is None:
        return NOT_SIMULATED
    return NoForecast(**values) if "reason" in values else Forecast(**values)


def _of_simulation(simulation: Simulation) -> dict[str, Any]:
    ladder = simulation.ladder
    return {
        "target": simulation.target,
        "spend": simulation.spend,
        "lean": simulation.lean,
        "known": [run.id for run in simulation.known],
        "num_params": ladder.num_params.tolist(),
        "flops_per_token": ladder.flops_per_token.tolist(),
        "most_tokens": ladder.most_tokens if math.isfinite(ladder.most_tokens) else None,
    }


def _simulation(values: Mapping[str, Any], runs: Sequence[Run]) -> Simulation:
    ladder = Ladder(
        np.array(values["num_params"], float), np.array(values["flops_per_token"], float)
    )
    if values["most_tokens"] is not None:
        ladder = replace(ladder, most_tokens=values["most_tokens"])
    found = {run.id: run for run in runs}
    known = tuple(found[run_id] for run_id in values["known"] if run_id in found)
    return Simulation(values["target"], ladder, known, values["spend"], values["lean"])
