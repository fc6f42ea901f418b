"""A sweep as plain values that a store keeps, and back: a plan that is read back is the plan."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict, cast

import numpy as np

from isoflop.compute.accelerators import find_accelerator
from isoflop.compute.compute import Hardware
from isoflop.counting.run_seconds import Bind
from isoflop.notes.note import Note
from isoflop.planning.candidates import Ladder
from isoflop.planning.forecast import NOT_SIMULATED, Forecast, NoForecast, Simulation
from isoflop.planning.sweep import Sweep
from isoflop.runs import Run, RunSpec

__all__ = ["plan_of", "sweep_of"]


class SimulationRecord(TypedDict):
    """The input of a forecast's simulation as a store keeps it; `known` holds ids of runs."""

    target: float
    spend: float | None
    lean: bool
    known: list[str]
    num_params: list[float]
    flops_per_token: list[float]
    most_tokens: float | None


class PlanRecord(TypedDict):
    """All of a sweep but its specs as a store keeps it; notes are pairs of code and text."""

    checks: list[dict[str, Any]]
    notes: list[list[str]]
    seconds: dict[str, float]
    memory_bytes: dict[str, float]
    mfu: dict[str, float]
    binds: Bind | None
    unit: str
    hardware: dict[str, object] | None
    forecast: dict[str, object] | None
    simulation: SimulationRecord | None


def plan_of(sweep: Sweep) -> PlanRecord:
    """All of a sweep but its specs, as values that JSON can hold."""
    return {
        "checks": [asdict(spec) for spec in sweep.checks],
        "notes": _of_notes(sweep.notes),
        "seconds": dict(sweep.seconds),
        "memory_bytes": dict(sweep.memory_bytes),
        "mfu": dict(sweep.mfu),
        "binds": sweep.binds,
        "unit": sweep.unit,
        "hardware": None if sweep.hardware is None else _of_hardware(sweep.hardware),
        "forecast": _of_forecast(sweep.forecast),
        "simulation": None if sweep.simulation is None else _of_simulation(sweep.simulation),
    }


def sweep_of(specs: tuple[RunSpec, ...], plan: Mapping[str, object], runs: Sequence[Run]) -> Sweep:
    """The sweep of some specs and its record by `plan_of`.

    runs: of these, the runs that were known when it was planned are used.
    """
    record = cast(PlanRecord, plan)
    return Sweep(
        specs=specs,
        checks=tuple(map(_spec, record.get("checks", ()))),
        notes=_notes(record["notes"]),
        seconds=record["seconds"],
        memory_bytes=record["memory_bytes"],
        mfu=record["mfu"],
        binds=record["binds"],
        unit=record["unit"],
        hardware=None if record["hardware"] is None else _hardware(record["hardware"]),
        forecast=_forecast(record["forecast"]),
        simulation=None
        if record["simulation"] is None
        else _simulation(record["simulation"], runs),
    )


def _spec(values: Mapping[str, Any]) -> RunSpec:
    size = values["size"]
    return RunSpec(**{**values, "size": tuple(size) if isinstance(size, list) else size})


def _of_notes(notes: Sequence[Note]) -> list[list[str]]:
    return [[note.code, str(note)] for note in notes]


def _notes(values: Sequence[Sequence[str]]) -> tuple[Note, ...]:
    return tuple(Note(code, text) for code, text in values)


def _of_hardware(hardware: Hardware) -> dict[str, object]:
    return {
        **vars(hardware),
        "accelerator": hardware.accelerator.name,
        "notes": _of_notes(hardware.notes),
    }


def _hardware(values: Mapping[str, Any]) -> Hardware:
    accelerator = find_accelerator(values["accelerator"])
    return Hardware(**{**values, "accelerator": accelerator, "notes": _notes(values["notes"])})


def _of_forecast(forecast: Forecast | NoForecast) -> dict[str, object] | None:
    return None if forecast == NOT_SIMULATED else dict(vars(forecast))


def _forecast(values: Mapping[str, Any] | None) -> Forecast | NoForecast:
    if values is None:
        return NOT_SIMULATED
    return NoForecast(**values) if "reason" in values else Forecast(**values)


def _of_simulation(simulation: Simulation) -> SimulationRecord:
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


def _simulation(values: SimulationRecord, runs: Sequence[Run]) -> Simulation:
    ladder = Ladder(
        np.array(values["num_params"], float), np.array(values["flops_per_token"], float)
    )
    if values["most_tokens"] is not None:
        ladder = replace(ladder, most_tokens=values["most_tokens"])
    by_id = {run.id: run for run in runs}
    known = tuple(by_id[run_id] for run_id in values["known"] if run_id in by_id)
    return Simulation(values["target"], ladder, known, values["spend"], values["lean"])
