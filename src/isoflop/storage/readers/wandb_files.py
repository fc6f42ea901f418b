"""Runs of Weights & Biases on disk: `wandb/*run-*/run-<id>.wandb`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from isoflop.extras import load_extra
from isoflop.storage.readers.settings import read_json, read_yaml
from isoflop.storage.readers.tracked import Columns, Recorder, TrackedRun, flat, is_cell
from isoflop.storage.readers.wandb_log import records

__all__ = ["read_wandb_files"]


def read_wandb_files(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of `.wandb` files."""
    load_extra("wandb", "wandb")  # its sentence, where the package is missing
    message = load_extra("wandb.proto.wandb_internal_pb2", "wandb").Record
    return [_run(file, message) for file in files]


class _Item(Protocol):
    """A named value of a record, which wandb has no types for."""

    key: str
    nested_key: Sequence[str]
    value_json: str


def _run(file: Path, message: object) -> TrackedRun:
    config: dict[str, object] = {}
    summary: dict[str, object] = {}
    recorder = Recorder()
    about = {"id": file.stem.removeprefix("run-"), "name": "", "group": "", "project": ""}
    state, started, step = "crashed", 0.0, 0.0  # without a record of its exit, it was killed
    for data in records(file):
        record = message.FromString(data)  # type: ignore[attr-defined]
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = flat(_values(record.history.item))
            own = row.get("_step")
            step = float(own) if isinstance(own, int | float) else step + 1
            recorder.add(step, row)
        elif kind == "summary":
            _update(summary, record.summary)
        elif kind == "config":
            _update(config, record.config)
        elif kind == "run":
            _update(config, record.run.config)
            about |= {
                "id": record.run.run_id or about["id"],
                "name": record.run.display_name,
                "group": record.run.run_group,
                "project": record.run.project,
            }
            started = record.run.start_time.ToNanoseconds() / 1e9
        elif kind == "exit":
            state = "failed" if record.exit.exit_code else "finished"
    if not started:  # the log is empty
        config, summary = _beside(file.parent / "files")
        state = "" if summary else state
    return TrackedRun(
        **about,
        config=_without_own(flat(config)),
        last=_without_own(flat(summary)) | _without_own(recorder.last),
        history=recorder.history,
        span=recorder.span(),
        state=state,
        started=started,
    )


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


def _values(items: Iterable[_Item]) -> dict[str, object]:
    """Values of a row, by name."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _update(values: dict[str, object], changes: object) -> None:
    for item in changes.update:  # type: ignore[attr-defined]
        values[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
    for item in changes.remove:  # type: ignore[attr-defined]
        values.pop(".".join(item.nested_key) or item.key, None)


def _without_own(values: Mapping[str, object]) -> dict[str, object]:
    """Values without those that W&B keeps for itself."""
    return {
        name: value
        for name, value in values.items()
        if not name.startswith("_wandb") and is_cell(value)
    }
