"""Runs of Hugging Face's Trainer: `trainer_state.json` of a run or of its checkpoints."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from isoflop.errors import DataError
from isoflop.storage.readers.settings import read_json, settings_beside
from isoflop.storage.readers.tracked import (
    FINISHED,
    Columns,
    Recorder,
    TrackedRun,
    is_cell,
    name_of_folder,
    number_in,
    short,
)

__all__ = ["STATE", "read_trainer_states"]

STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_RENAMED = {"loss": "train/loss", "train_loss": "train/mean_loss"}
"""The Trainer calls its training loss `loss`, and the mean of a whole run `train_loss`."""
_COUNTS = ("num_input_tokens_seen", "total_flos", "epoch")
"""Counts of a state, at its last step."""


def read_trainer_states(
    path: Path, files: Sequence[Path], columns: Columns
) -> Sequence[TrackedRun]:
    """The runs of state files: one for each folder with checkpoints."""
    last: dict[Path, Path] = {}
    for file in sorted(files, key=_step):
        last[_folder(file)] = file  # each state has the whole log up to its step
    return [_run(folder, file, path) for folder, file in sorted(last.items())]


def _folder(file: Path) -> Path:
    """The run's folder."""
    return file.parent.parent if _CHECKPOINT.fullmatch(file.parent.name) else file.parent


def _step(file: Path) -> float:
    """The step of a checkpoint; the state of a finished run comes after all checkpoints."""
    checkpoint = _CHECKPOINT.fullmatch(file.parent.name)
    return float(checkpoint[1]) if checkpoint else float("inf")


def _run(folder: Path, file: Path, root: Path) -> TrackedRun:
    state = read_json(file)
    log = state.get("log_history") if isinstance(state, Mapping) else None
    if not isinstance(state, Mapping) or not isinstance(log, list):
        raise DataError(
            f"{short(file)} must be the state of a Trainer, but it has no log_history; "
            "take it out of the folder."
        )
    recorder = Recorder()
    for row in log:
        if isinstance(row, Mapping):
            _record(recorder, row)
    end = _number(state.get("global_step"))
    recorder.add(
        max(end, recorder.end),
        {name: state[name] for name in _COUNTS if is_cell(state.get(name)) and state[name]},
    )
    return TrackedRun(
        id=str(folder),
        name=name_of_folder(folder, root),
        config=settings_beside(file.parent) | settings_beside(folder),
        last=recorder.last | _params_of(state),
        history=recorder.history,
        span=recorder.span(),
        state=_ending(file, end, _number(state.get("max_steps"))),
    )


def _params_of(state: Mapping[str, object]) -> dict[str, object]:
    """Params without embeddings: the Trainer counts 6 FLOPs for each of them and each token."""
    flops, tokens = (_number(state.get(name)) for name in ("total_flos", "num_input_tokens_seen"))
    return {"non_embedding_params": flops / (6 * tokens)} if flops > 0 and tokens > 0 else {}


def _record(recorder: Recorder, row: Mapping[str, object]) -> None:
    values = {_RENAMED.get(name, name): value for name, value in row.items() if name != "step"}
    recorder.add(_number(row.get("step")), values)


def _number(value: object) -> float:
    return number_in(value) or 0.0


def _ending(file: Path, step: float, most: float) -> str:
    """How a run ended: a checkpoint before the last step is no finished run."""
    is_checkpoint = _CHECKPOINT.fullmatch(file.parent.name) is not None
    return f"at step {step:g} of {most:g}" if is_checkpoint and step < most else FINISHED
