"""Experiment trackers (TensorBoard, Weights & Biases, MLflow, Trackio) through Accelerate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from isoflop import arguments
from isoflop.display.format import quoted
from isoflop.errors import ContractError, first_line
from isoflop.runs import RunSpec
from isoflop.storage.store import Workspace
from isoflop.training.notices import print_notice
from isoflop.training.ranks import Ranks

__all__ = ["TRACKERS", "check_trackers", "open_trackers"]

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")

PROJECT = "isoflop"


def check_trackers(names: Sequence[str] | str) -> tuple[str, ...]:
    """The names of trackers as a tuple. Raises ContractError for one unknown or not installed."""
    if not arguments.several(names) and not isinstance(names, str):
        raise arguments.refused(
            names, "trackers", f"a list of {', '.join(TRACKERS)}", error=ContractError
        )
    listed = tuple([names] if isinstance(names, str) else names)
    if not listed:
        return ()
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {
        str(tracker.value if hasattr(tracker, "value") else tracker)
        for tracker in get_available_trackers()
    }
    for name in listed:
        if (
            not isinstance(name, str)
            or name not in TRACKERS
            or name not in {str(key) for key in LOGGER_TYPE_TO_CLASS}
        ):
            raise ContractError(
                f"trackers must be among {', '.join(TRACKERS)}, but got {quoted(name)}."
            )
        if name not in available:
            raise ContractError(
                f"Tracker {name!r} must be installed; run: pip install 'isoflop[trackers]'."
            )
    return listed


@contextmanager
def open_trackers(
    names: Sequence[str], spec: RunSpec, store: Workspace, ranks: Ranks
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """A function (values, step) that logs to every tracker.

    Each run is one tracker run, with its spec as the configuration.
    """
    kept = list(names) if ranks.is_first else []
    opened: dict[str, Tracker] = {}

    def begin(name: str) -> None:
        opened[name] = _open(name, spec, store)
        opened[name].store_init_configuration(_plain(asdict(spec)))

    _with_each(kept, begin)
    try:
        yield lambda values, step: _with_each(
            kept, lambda name: opened[name].log(dict(values), step=step)
        )
    finally:
        _with_each(kept, lambda name: opened[name].finish())


def _with_each(kept: list[str], act: Callable[[str], object]) -> None:
    """Act on each tracker; drop one that fails, as with a full disk or an absent server."""
    for name in list(kept):
        try:
            act(name)
        except Exception as error:  # of a tracker's own code; a log is not worth a run
            kept.remove(name)
            print_notice(
                f"tracker {name} failed ({type(error).__name__}: {first_line(error):.100}); "
                f"runs go on without it."
            )


class Tracker(Protocol):
    """A tracker of Accelerate, which has no types."""

    def store_init_configuration(self, values: dict[str, object], /) -> object: ...
    def log(self, values: dict[str, float], /, step: int) -> object: ...
    def finish(self) -> object: ...


def _open(name: str, spec: RunSpec, store: Workspace) -> Tracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    folder = store.folder or Path("runs")
    title = (
        f"{spec.size} at {spec.budget:.3g}, seed {spec.seed}"
        if spec.budget
        else f"{spec.size}, seed {spec.seed}"
    )
    options: dict[str, dict[str, object]] = {
        "tensorboard": {"run_name": spec.id, "logging_dir": folder / "tracking"},
        "wandb": {
            "run_name": PROJECT,
            "name": title,
            "id": spec.id,
            "resume": "allow",
            "dir": str(folder),
        },
        "mlflow": {"experiment_name": PROJECT, "run_name": title},
        "trackio": {"run_name": PROJECT, "name": spec.id},
    }
    opened = LOGGER_TYPE_TO_CLASS[name](**options[name])
    if hasattr(opened, "start"):
        opened.start()
    tracker: Tracker = opened
    return tracker


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Values that every tracker accepts: numbers and texts, one level deep."""
    plain: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            plain.update({f"{key}.{name}": inner for name, inner in _plain(value).items()})
        else:
            plain[key] = "none" if value is None else value
    return plain
