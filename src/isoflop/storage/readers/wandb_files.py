"""Runs of Weights & Biases on disk: `wandb/*run-*/run-<id>.wandb`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoflop.extras import load_extra
from isoflop.storage.readers.settings import read_json, read_yaml
from isoflop.storage.readers.tracked import Columns, Recorder, TrackedRun, flat, is_cell, number_in
from isoflop.storage.readers.wandb_log import records

__all__ = ["read_wandb_files"]

_OWN = ("_timestamp", "_runtime")
"""Values of each row that W&B adds."""


def read_wandb_files(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of `.wandb` files."""
    load_extra("wandb", "wandb")  # its sentence, where the package is missing
    message = load_extra("wandb.proto.wandb_internal_pb2", "wandb").Record
    return [_run(file, message) for file in files]


def _run(file: Path, message: Any) -> TrackedRun:
    log = _Log(file.stem.removeprefix("run-"))
    for data in records(file):
        log.take(message.FromString(data))
    if not log.started:  # nothing was logged
        config, summary = _beside(file.parent / "files")
        state = "" if summary else log.state
    else:
        config, summary, state = _decoded(log.config), _decoded(log.summary), log.state
    return TrackedRun(
        **log.about,
        config=_without_own(flat(config)),
        last=_without_own(flat(summary) | log.recorder.last),
        history=log.recorder.history,
        span=log.recorder.span(),
        state=state,
        started=log.started,
    )


class _Log:
    """The records of a run so far; settings and summary as JSON texts, of which the last count."""

    def __init__(self, run_id: str) -> None:
        self.about = {"id": run_id, "name": "", "group": "", "project": ""}
        self.config: dict[str, str] = {}
        self.summary: dict[str, str] = {}
        self.recorder = Recorder()
        self.state = "crashed"  # without a record of its exit, it was killed
        self.started = 0.0

    def take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "history":
            self._take_row(record.history)
        elif kind == "summary":
            _update(self.summary, record.summary)
        elif kind == "config":
            _update(self.config, record.config)
        elif kind == "run":
            self._take_run(record.run)
        elif kind == "exit":
            self.state = "failed" if record.exit.exit_code else "finished"

    def _take_row(self, history: Any) -> None:
        row = {
            name: _value(item.value_json)
            for item in history.item
            if (name := _name(item)) not in _OWN
        }
        step = number_in(row.pop("_step", history.step.num))
        self.recorder.add(math.nan if step is None else step, flat(row))

    def _take_run(self, run: Any) -> None:
        _update(self.config, run.config)
        self.started = run.start_time.ToNanoseconds() / 1e9
        self.about = {
            "id": run.run_id or self.about["id"],
            "name": run.display_name,
            "group": run.run_group,
            "project": run.project,
        }


def _update(values: dict[str, str], changes: Any) -> None:
    for item in changes.update:
        values[_name(item)] = item.value_json
    for item in changes.remove:
        values.pop(_name(item), None)


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _decoded(values: Mapping[str, str]) -> dict[str, object]:
    return {name: _value(text) for name, text in values.items()}


def _value(text: str) -> object:
    """The value of a JSON text; most are numbers."""
    try:
        return float(text)
    except ValueError:
        value: object = json.loads(text)
        return value


def _beside(folder: Path) -> tuple[dict[str, object], dict[str, object]]:
    """Settings and summary from the files beside a log, which W&B writes at the end of a run."""
    config, summary = folder / "config.yaml", folder / "wandb-summary.json"
    settings = read_yaml(config) if config.is_file() else {}
    values = read_json(summary) if summary.is_file() else {}
    return (
        {
            name: value.get("value") if isinstance(value, Mapping) else value
            for name, value in (settings.items() if isinstance(settings, Mapping) else ())
        },
        dict(values) if isinstance(values, Mapping) else {},
    )


def _without_own(values: Mapping[str, object]) -> dict[str, object]:
    """Values without those that W&B keeps for itself."""
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("_wandb") and is_cell(value)
    }
