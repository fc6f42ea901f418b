"""RunSpec, a planned run, and Run, its result: plain data that all parts share."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal, get_args

from isoflop import arguments
from isoflop.display.format import format_count, format_flops, format_number, one_line
from isoflop.errors import DataError, IsoflopError
from isoflop.settings import Settings, complete, open_setting

__all__ = [
    "CurvePoint",
    "Run",
    "RunSpec",
    "SizeValue",
    "Status",
    "TrainedRuns",
    "parted_runs",
    "runs_of",
    "tasks_of",
    "tasks_text",
]

SizeValue = int | float | str | tuple[int | float | str, ...]
Status = Literal["completed", "diverged", "failed"]
CurvePoint = tuple[float, float]
"""(tokens trained so far, training loss there)."""


_AMOUNTS = ("loss_stderr", "seconds", "wall_seconds", "predicted_seconds")
_RARE = ("unique_tokens", "trunk", "arguments", "checked_lr", "checked_batch")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A planned training run; equal specs have equal ids and give equal results.

    Runs from a table have a spec too, with the columns of the table alone.
    """

    num_params: float
    num_tokens: float
    """Tokens to train on."""
    flops: float
    """FLOPs of the whole run, forward and backward."""
    budget: float | None = None
    """FLOPs shared by the runs of one IsoFLOP curve; None when the run belongs to no curve."""
    size: SizeValue | None = None
    """Value of the task's size parameter."""
    arguments: Mapping[str, int | float | str] = field(default_factory=dict)
    """Further arguments of the size by name, such as depth and width, of a `Family`."""
    param_counts: Mapping[str, int] = field(default_factory=dict)
    """Params by convention, where they are known: total, non_embedding, matmul, active."""
    batch: int | None = None
    """Examples per optimiser step, over all processes."""
    tokens_per_example: float | None = None
    lr: float | None = None
    """Peak learning rate."""
    beta1: float | None = None
    beta2: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    """Share of the run in which the learning rate rises."""
    schedule: str | None = None
    cooldown: float | None = None
    """Share of the run in which a wsd schedule cools down."""
    clip: float | None = None
    """Largest gradient norm; None for no clipping."""
    precision: str | None = None
    ema: float | None = None
    """Share of the run over which the evaluated weights are averaged; None for the last ones."""
    epochs: float | None = None
    """Passes over the training data that the tokens need; None where its length is unknown."""
    unique_tokens: float | None = None
    """Tokens of the part of the data that is passed over `epochs` times; None for all data."""
    trunk: str | None = None
    """Name of the constant-rate trunk that the run shares; None for a separate run."""
    checked_lr: float | None = None
    """Planned learning rate that the run checks, by training at it, below or above it; None for a
    run of the sweep itself. No law takes a run of a check as one of its points."""
    checked_batch: int | None = None
    """Planned batch that a run of a check checks, by training at a smaller or larger one; None for
    all other runs."""
    seed: int = 0
    fingerprint: str = ""
    """Of the task: model, loss, recipe and data (user_code/fingerprint.py)."""

    def __post_init__(self) -> None:
        _require_numbers(self, ("num_params", "num_tokens", "flops"), ("budget", "epochs"))

    @cached_property
    def id(self) -> str:
        """Hash of all fields, 16 hexadecimal digits; rare fields take part only where set."""
        # asdict() is five times as slow
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        held = {
            name: value for name, value in values if name not in _RARE or value not in (None, {})
        }
        text = json.dumps(held, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def flops_per_token(self) -> float:
        return self.flops / self.num_tokens

    @cached_property
    def settings(self) -> Settings:
        """How the run is trained. Raises PlanError where this spec leaves a setting open."""
        return complete(vars(self))

    @property
    def step_tokens(self) -> float:
        """Tokens of an optimiser step. Raises PlanError where this spec leaves its batch open."""
        if self.batch is None or self.tokens_per_example is None:
            name = "batch" if self.batch is None else "tokens_per_example"
            raise open_setting(name, self.size)
        return self.batch * self.tokens_per_example

    @property
    def num_steps(self) -> float:
        """Optimiser steps. Raises PlanError where this spec leaves its batch open."""
        return self.num_tokens / self.step_tokens


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """Result of one spec: held-out loss, cost, and the error of a run that did not complete."""

    spec: RunSpec
    status: Status
    loss: float = math.nan
    """Final loss on held-out data; NaN where none was measured."""
    loss_stderr: float | None = None
    """Standard error of `loss` over the evaluation set."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Other held-out measures by name, means over the same evaluation set as the loss."""
    curve: tuple[CurvePoint, ...] = ()
    num_tokens: float
    """Tokens trained, counted while training."""
    flops: float
    """FLOPs spent, those of the batches trained."""
    seconds: float | None = None
    """Time of the training steps, reading of data included; in a pack, the run's share of it."""
    wall_seconds: float | None = None
    """Time from the start of the run to its record: start-up, training, checkpoints, evaluation."""
    predicted_seconds: float | None = None
    """What the plan predicted of `wall_seconds`."""
    peak_flops_per_second: float | None = None
    """Peak of its devices, measured on a matrix product in the run's precision."""
    device: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    """Why the run did not complete."""
    group: str | None = None
    """Name shared by the rows of one trained model (checkpoints, branches of one trunk)."""

    def __post_init__(self) -> None:
        if not isinstance(self.spec, RunSpec):
            raise arguments.refused(self.spec, "Run: spec", "a RunSpec")
        if not isinstance(self.status, str) or self.status not in get_args(Status):
            raise arguments.refused(
                self.status, "Run: status", " or ".join(map(repr, get_args(Status)))
            )
        if self.loss is None:  # as tables of other programs say that there is none
            object.__setattr__(self, "loss", math.nan)
        _require_numbers(self, ("loss", "num_tokens", "flops"), _AMOUNTS)
        if self.loss_stderr is not None and not -math.inf < self.loss_stderr < math.inf:
            object.__setattr__(self, "loss_stderr", None)  # one that is unknown
        arguments.mapping(self.metrics, "Run: metrics", "a dict, name -> value")
        if not isinstance(self.curve, tuple):
            raise arguments.refused(self.curve, "Run: curve", "a tuple of pairs (tokens, loss)")

    def __repr__(self) -> str:
        """Size, cost and outcome, without the settings and the curve."""
        size = "" if self.size is None else f"size {one_line(self.size)}, "
        seed = f", seed {self.spec.seed}" if self.spec.seed else ""
        checked = "learning rate" if self.spec.checked_batch is None else "batch"
        check = "" if self.spec.checked_lr is None else f", checks the {checked}"
        outcome = (
            f"loss {format_number(self.loss, 4)}" if self.status == "completed" else self.status
        )
        return (
            f"Run({self.id}: {size}{format_count(self.num_params)} params on "
            f"{format_count(self.num_tokens)} tokens, {format_flops(self.flops)} FLOPs"
            f"{seed}{check}, {outcome})"
        )

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def tokens_per_second(self) -> float | None:
        """Speed of training, without evaluation; None where the time is unknown."""
        return self.num_tokens / self.seconds if self.seconds else None

    @property
    def slowdown(self) -> float | None:
        """Time of the run as a multiple of its prediction; None where either is unknown."""
        if not self.wall_seconds or not self.predicted_seconds:
            return None
        return self.wall_seconds / self.predicted_seconds

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: counted FLOPs as a share of the measured peak, or None."""
        if not self.seconds or not self.peak_flops_per_second:
            return None
        return self.flops / self.seconds / self.peak_flops_per_second

    @property
    def num_params(self) -> float:
        return self.spec.num_params

    @property
    def budget(self) -> float | None:
        return self.spec.budget

    @property
    def size(self) -> SizeValue | None:
        return self.spec.size


def _require_numbers(value: object, names: Iterable[str], optional: Iterable[str]) -> None:
    """Turn fields such as numbers of NumPy or "70B" into plain numbers; NaN is allowed.

    Raises DataError for any other value.
    """
    for name in (*names, *optional):
        given = getattr(value, name)
        if type(given) is float or type(given) is int or (given is None and name in optional):
            continue
        read = arguments.number(
            given, f"{type(value).__name__}: {name}", must="a number", holds=lambda one: True
        )
        object.__setattr__(value, name, read)


class TrainedRuns(list[Run]):
    """The runs of a sweep, with those of its checks apart; its sum with another list keeps both."""

    def __init__(self, runs: Iterable[Run] = (), checks: Iterable[Run] = ()) -> None:
        super().__init__(runs)
        self.checks = tuple(checks)

    def __add__(self, other: list[Run]) -> "TrainedRuns":  # type: ignore[override]  # of runs alone
        return TrainedRuns([*self, *other], (*self.checks, *getattr(other, "checks", ())))

    def __radd__(self, other: list[Run]) -> "TrainedRuns":
        return TrainedRuns([*other, *self], self.checks)


def runs_of(
    runs: object, function: str, error: Callable[[str], IsoflopError] = DataError
) -> list[Run]:
    """Runs as a list, without those of checks. Raises DataError for any other value."""
    return parted_runs(runs, function, error)[0]


def parted_runs(
    runs: object, function: str, error: Callable[[str], IsoflopError] = DataError
) -> tuple[list[Run], list[Run]]:
    """Runs as a list, and those of checks apart. Raises DataError for any other value."""
    every = [*_all_of(runs, function, error), *getattr(runs, "checks", ())]
    checks = {run.id: run for run in every if run.spec.checked_lr is not None}
    return [run for run in every if run.spec.checked_lr is None], [*checks.values()]


def _all_of(runs: object, function: str, error: Callable[[str], IsoflopError]) -> list[Run]:
    given: list[object] = [runs]
    if arguments.several(runs) and not hasattr(runs, "columns"):
        given = [*runs]
    checked = [run for run in given if isinstance(run, Run)]
    if len(checked) < len(given):
        other = next(run for run in given if not isinstance(run, Run))
        raise error(
            f"{function} needs runs, but got {type(other).__name__}; read a table or a store with "
            "isoflop.read_runs() first."
        )
    return checked


def tasks_of(runs: Iterable[Run]) -> Counter[str]:
    """Number of runs by the fingerprint of their task, most first; runs of tables have none."""
    counted = Counter(run.spec.fingerprint for run in runs if run.spec.fingerprint)
    return Counter(dict(counted.most_common()))


def tasks_text(tasks: Counter[str]) -> str:
    """The tasks in words, such as: 16 runs of 3f0c, 14 runs of 9ab2."""
    return ", ".join(
        f"{number} run{'s' if number > 1 else ''} of {fingerprint}"
        for fingerprint, number in tasks.items()
    )
