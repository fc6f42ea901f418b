"""Values for other programs: JSON of answers, fits, sweeps, runs and stores."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from isoflop.notes.note import Note

if TYPE_CHECKING:
    from isoflop.fitting.fit import Fit
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run, RunSpec
    from isoflop.storage.status import StageStatus

__all__ = ["fit_values", "run_values", "spec_values", "status_values", "sweep_values", "to_json"]


@runtime_checkable
class HasValues(Protocol):
    """A dataclass whose JSON values differ from its fields."""

    def json_values(self) -> Mapping[str, object]:
        """Values by name."""
        ...


def to_json(value: object, worded: Callable[[str], str] = str) -> str:
    """A value as JSON: dataclasses as objects, numbers that are not finite as null.

    worded: how the words of a note are written, for readers who do not write Python.
    """
    return json.dumps(_plain(value, worded), indent=2, allow_nan=False)


def fit_values(fitted: "Fit") -> dict[str, object]:
    """Law, settings and notes of a fit, without its runs and draws."""
    aside = [{"reason": one.reason, **_measured(one.run)} for one in fitted.set_aside]
    return {
        "approach": repr(fitted.approach),
        "law": fitted.law,
        "objective": fitted.objective,
        "level": fitted.level,
        "num_runs": len(fitted.runs),
        "set_aside": aside,
        "notes": fitted.notes,
    }


def sweep_values(sweep: "Sweep") -> dict[str, object]:
    """The runs of a sweep and of its check, with the cost of each."""

    def costed(spec: "RunSpec") -> dict[str, object]:
        return {
            **spec_values(spec),
            "seconds": sweep.seconds.get(spec.id),
            "mfu": sweep.mfu.get(spec.id),
            "memory_bytes": sweep.memory_bytes.get(spec.id),
        }

    spent = sweep.compute
    return {
        "flops": sweep.flops,
        "seconds": sweep.total_seconds,
        "binds": sweep.binds,
        "hardware": sweep.hardware,
        "device_hours": spent.device_hours,
        "money": spent.money,
        "unit": sweep.unit,
        "forecast": sweep.forecast,
        "condition": sweep.condition,
        "runs": [costed(spec) for spec in sweep.specs],
        "checks": [costed(spec) for spec in sweep.checks],
        "notes": sweep.notes,
    }


def run_values(run: "Run") -> dict[str, object]:
    """Result of a run, without its curve."""
    ended = {
        "status": run.status,
        "loss": run.loss,
        "loss_stderr": run.loss_stderr,
        "error": run.error,
    }
    return {
        **spec_values(run.spec),
        "id": run.id,
        **ended,
        "num_tokens": run.num_tokens,
        "flops": run.flops,
        "seconds": run.seconds,
        "wall_seconds": run.wall_seconds,
        "predicted_seconds": run.predicted_seconds,
    }


def status_values(stage: "StageStatus") -> dict[str, object]:
    """One stage of a store: its runs by status."""
    return {
        "stage": stage.stage,
        "purpose": stage.purpose,
        "num_runs": stage.num_runs,
        "ended": [run_values(run) for run in stage.ended],
        "failed": [run_values(run) for run in stage.failed],
        "running": [{**spec_values(spec), "holder": holder} for spec, holder in stage.running],
        "waiting": [spec_values(spec) for spec in stage.waiting],
        "replaced": [spec_values(spec) for spec in stage.replaced],
    }


def spec_values(spec: "RunSpec") -> dict[str, object]:
    """Every field of a run's spec, and its id."""
    return {
        "id": spec.id,
        **{part.name: getattr(spec, part.name) for part in dataclasses.fields(spec)},
    }


def _note_values(note: Note, worded: Callable[[str], str]) -> dict[str, str]:
    return {
        "code": note.code,
        "text": worded(str(note)),
        "severity": note.severity,
        "remedy": worded(note.remedy),
    }


def _measured(run: "Run") -> dict[str, object]:
    return {
        "num_params": run.num_params,
        "num_tokens": run.num_tokens,
        "flops": run.flops,
        "loss": run.loss,
    }


def _plain(value: object, worded: Callable[[str], str]) -> object:
    """The value in types that JSON has."""
    if isinstance(value, HasValues):
        value = value.json_values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, worded) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, worded) for item in value]
    if isinstance(value, Note):
        return _note_values(value, worded)
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)  # type: ignore[arg-type]  # a number, or TypeError as from json
    return number if math.isfinite(number) else None
