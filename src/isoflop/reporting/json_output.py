"""Values for other programs: JSON of answers, fits, sweeps, runs and stores."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isoflop.notes.note import Note

if TYPE_CHECKING:
    from isoflop.fitting.fit import Fit
    from isoflop.planning.sweep import Sweep
    from isoflop.runs import Run, RunSpec
    from isoflop.storage.status import StageStatus

__all__ = ["fit_values", "run_values", "spec_values", "standing_values", "sweep_values", "to_json"]


def to_json(value: Any) -> str:
    """A value as JSON: dataclasses as objects, numbers that are not finite as null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def fit_values(fitted: "Fit") -> dict[str, Any]:
    """What a fit says, without its runs and its draws."""
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


def sweep_values(sweep: "Sweep") -> dict[str, Any]:
    """What a sweep asks for, with what each run costs."""
    runs = [
        {
            **spec_values(spec),
            "seconds": sweep.seconds.get(spec.id),
            "mfu": sweep.mfu.get(spec.id),
            "memory_bytes": sweep.memory_bytes.get(spec.id),
        }
        for spec in sweep.specs
    ]
    spent = sweep.compute
    return {
        "flops": sweep.flops,
        "seconds": sweep.total_seconds,
        "hardware": sweep.hardware,
        "device_hours": spent.device_hours,
        "money": spent.money,
        "unit": sweep.unit,
        "forecast": sweep.forecast,
        "condition": sweep.condition,
        "runs": runs,
        "notes": sweep.notes,
    }


def run_values(run: "Run") -> dict[str, Any]:
    """What happened to a run, without its curve."""
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
    }


def standing_values(stage: "StageStatus") -> dict[str, Any]:
    """How far one stage of a store is: its runs by what became of them."""
    return {
        "stage": stage.stage,
        "purpose": stage.purpose,
        "num_runs": stage.num_runs,
        "ended": [run_values(run) for run in stage.ended],
        "failed": [run_values(run) for run in stage.failed],
        "running": [{**spec_values(spec), "holder": holder} for spec, holder in stage.running],
        "waiting": [spec_values(spec) for spec in stage.waiting],
    }


def spec_values(spec: "RunSpec") -> dict[str, Any]:
    """All that a run's spec says, and its id."""
    return {
        "id": spec.id,
        **{part.name: getattr(spec, part.name) for part in dataclasses.fields(spec)},
    }


def _note_values(note: Note) -> dict[str, str]:
    return {
        "code": note.code,
        "text": str(note),
        "severity": note.severity,
        "remedy": note.remedy,
    }


def _measured(run: "Run") -> dict[str, Any]:
    return {
        "num_params": run.num_params,
        "num_tokens": run.num_tokens,
        "flops": run.flops,
        "loss": run.loss,
    }


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Note):
        return _note_values(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if math.isfinite(value) else None
