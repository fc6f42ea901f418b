"""Runs of TensorBoard: folders with event files, their hparams, or a JSON or YAML file beside."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from isoflop.extras import load_extra
from isoflop.storage.readers.settings import settings_beside
from isoflop.storage.readers.tracked import (
    Columns,
    Series,
    TrackedRun,
    failures_as_errors,
    name_of_folder,
    series_of,
    span_of,
)

__all__ = ["read_event_folders"]

_PARTS = ("train", "training", "val", "valid", "validation", "eval", "evaluation", "test")
"""Folders of one run, as Keras writes them; their names become part of the quantities' names."""
_ACCUMULATOR = "tensorboard.backend.event_processing.event_accumulator"
_HPARAMS = "tensorboard.plugins.hparams.plugin_data_pb2"
_EVERYTHING = {"scalars": 0, "tensors": 0, "images": 1, "histograms": 1, "audio": 1}
_FAILED = 2
"""`STATUS_FAILURE` of the hparams plugin."""


def read_event_folders(path: Path, files: Sequence[Path], columns: Columns) -> Sequence[TrackedRun]:
    """The runs of folders with event files.

    A folder of hparams alone, as `add_hparams` of PyTorch writes it, and folders `train` and
    `validation` belong to the run of the folder around them.
    """
    load_extra("tensorboard", "tensorboard")
    with failures_as_errors(path):
        folders = {folder: _Folder(folder) for folder in sorted({file.parent for file in files})}
        owners: dict[Path, list[_Folder]] = {}
        for own in folders.values():
            owners.setdefault(_owner(own, folders), []).append(own)
        return [_run(folder, parts, path) for folder, parts in owners.items()]


class _Folder:
    """The event files of one folder."""

    def __init__(self, path: Path) -> None:
        accumulator = load_extra(_ACCUMULATOR, "tensorboard").EventAccumulator(
            str(path), size_guidance=_EVERYTHING
        )
        accumulator.Reload()
        self.path = path
        self.series = {tag: series for tag, series in _series(accumulator)}
        self.hparams, self.has_failed = _hparams(accumulator)


def _series(accumulator: Any) -> Iterator[tuple[str, Series]]:
    tags = accumulator.Tags()
    for tag in tags["scalars"]:
        yield tag, series_of([(e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag)])
    number = load_extra("tensorboard.util.tensor_util", "tensorboard").make_ndarray
    for tag in _contents(accumulator, "scalars"):  # as TensorFlow 2 writes them
        points = accumulator.Tensors(tag)
        yield tag, series_of([(e.step, e.wall_time, number(e.tensor_proto)) for e in points])


def _contents(accumulator: Any, plugin: str) -> Mapping[str, bytes]:
    """What a plugin keeps in a folder, by tag."""
    try:
        contents: Mapping[str, bytes] = accumulator.PluginTagToContent(plugin)
    except KeyError:  # it keeps nothing
        return {}
    return contents


def _hparams(accumulator: Any) -> tuple[dict[str, object], bool]:
    """The settings of a folder's hparams, and whether it says that the run failed."""
    message = load_extra(_HPARAMS, "tensorboard").HParamsPluginData
    found: dict[str, object] = {}
    has_failed = False
    for content in _contents(accumulator, "hparams").values():
        data = message.FromString(content)
        for name, value in data.session_start_info.hparams.items():
            kind = value.WhichOneof("kind")
            found[name] = getattr(value, kind) if kind else None
        has_failed |= data.session_end_info.status == _FAILED
    return found, has_failed


def _owner(own: _Folder, folders: Mapping[Path, _Folder]) -> Path:
    """The folder of the run that a folder belongs to."""
    parent = folders.get(own.path.parent)
    is_of_parent = parent is not None and bool(own.hparams) and not parent.hparams
    return own.path.parent if is_of_parent or own.path.name.lower() in _PARTS else own.path


def _run(folder: Path, parts: Sequence[_Folder], root: Path) -> TrackedRun:
    series: dict[str, Series] = {}
    hparams: dict[str, object] = {}
    for part in sorted(parts, key=lambda part: part.path != folder):
        prefix = f"{part.path.name}/" if part.path.name.lower() in _PARTS else ""
        own = {f"{prefix}{tag}": values for tag, values in part.series.items()}
        series = own | series  # the metrics of hparams stand behind the logged ones
        hparams |= part.hparams
    span = span_of([*series.values()])
    return TrackedRun(
        id=str(folder),
        name=name_of_folder(folder, root),
        config=settings_beside(folder, or_only_json=True) | hparams,
        last={tag: float(values.values[-1]) for tag, values in series.items()},
        history=series.get,
        span=span,
        state="failed" if any(part.has_failed for part in parts) else "",
        group=str(folder.parent),
        started=span.times[0] if span is not None and span.times is not None else 0.0,
    )
