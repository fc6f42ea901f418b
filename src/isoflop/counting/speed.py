"""Speed of this machine on a task's runs, from a few real steps and batches of small sizes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from isoflop.counting.counting import count_size
from isoflop.counting.held_out import held_out_examples
from isoflop.counting.memory import run_bytes, state_bytes
from isoflop.counting.peak import is_bf16, peak_flops
from isoflop.counting.reading_speed import MeasuredReading, ReadingSpeed, measure_reading
from isoflop.counting.run_seconds import CHECKPOINT_SECONDS, RunSeconds
from isoflop.counting.timed_steps import MAX_TIMED_FLOPS, TimedSize, step_flops, time_size
from isoflop.counting.tokens import token_supply
from isoflop.errors import IsoflopError
from isoflop.per_task import per_task
from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.user_code.data import open_data
from isoflop.user_code.isolation import isolated

__all__ = ["EvaluationSpeed", "Rate", "Speed", "measure_speed"]

MAX_TIMED_BYTES = 2e9
"""Largest memory of a timed run: a plan leaves the machine to its other programs."""
SAVE_SECONDS, SAVE_SECONDS_PER_PARAM = 0.01, 5e-8
"""Of a checkpoint: weights and two moments in fp32, to a local disk.

24 ms at 0.24M params, 1 s at 25M.
"""


@dataclass(frozen=True)
class Rate:
    """Seconds of calls with some work each: an overhead per call, and the work at a rate."""

    overhead_seconds: float
    per_second: float

    def seconds(self, num_calls: float, work: float) -> float:
        """Of some calls that share an amount of work."""
        return num_calls * self.overhead_seconds + work / self.per_second


NO_TIME = Rate(0.0, math.inf)
NO_READING = ReadingSpeed()


@dataclass(frozen=True, kw_only=True)
class EvaluationSpeed:
    """Seconds of the held-out loss of a run.

    forward: of a batch; its work is the FLOPs of training on the same tokens.
    reading: of the held-out data.
    num_batches: of all passes together, and the examples of each.
    num_passes: how often the data are read.
    tokens_per_batch: mean tokens of a batch.
    """

    forward: Rate = NO_TIME
    reading: ReadingSpeed = NO_READING
    num_batches: float = 0.0
    batch: int = 1
    num_passes: int = 1
    tokens_per_batch: float = 0.0

    def seconds(self, flops_per_token: float) -> float:
        """Of a size, by its FLOPs per token in training."""
        each = self.forward.seconds(1, self.tokens_per_batch * flops_per_token)
        read = self.reading.waiting(each, self.batch)
        return self.num_batches * (each + read) + self.num_passes * self.reading.start_seconds


NO_EVALUATION = EvaluationSpeed()


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of one worker of this machine.

    steps: of optimiser steps; the work is FLOPs.
    peak_flops_per_second: of a matrix product there, in the precision of the runs.
    reading: of the training data.
    evaluation: of the held-out loss.
    startup: of building a model and its first step; the work is params.
    overlaps: whether a batch is read while the device still works on the one before.
    """

    steps: Rate
    peak_flops_per_second: float
    reading: ReadingSpeed = NO_READING
    evaluation: EvaluationSpeed = NO_EVALUATION
    startup: Rate = NO_TIME
    overlaps: bool = False

    def seconds(self, spec: RunSpec) -> RunSeconds:
        """Predicted time of a run, in parts.

        The time of `torch.compile` is not known before, and not in it.
        """
        overhead = spec.num_steps * self.steps.overhead_seconds
        compute = spec.flops / self.steps.per_second
        waiting = spec.num_steps * self._waiting(spec)
        training = overhead + compute + waiting
        save = SAVE_SECONDS + SAVE_SECONDS_PER_PARAM * spec.num_params
        return RunSeconds(
            compute=compute,
            overhead=overhead,
            data=waiting,
            evaluation=self.evaluation.seconds(spec.flops_per_token),
            startup=self.startup.seconds(1, spec.num_params) + self.reading.start_seconds,
            checkpoints=training // CHECKPOINT_SECONDS * save,
        )

    def mfu(self, spec: RunSpec) -> float:
        """Predicted share of the peak that a run reaches in training."""
        return spec.flops / self.seconds(spec).training / self.peak_flops_per_second

    def _waiting(self, spec: RunSpec) -> float:
        """Time that the data add to a step."""
        computing = step_flops(spec) / self.steps.per_second
        step = self.steps.overhead_seconds + computing
        waiting = self.reading.waiting(step, spec.settings.batch)
        # the device works on while this process reads, and reading replaces some of that time
        return max(0.0, waiting - computing) if self.overlaps else waiting


def measure_speed(task: Task, specs: Sequence[RunSpec]) -> Speed | None:
    """The speed of this machine on these runs, from a few real steps of up to three of them.

    Timed on one thread, as in a worker of a pool, or on the GPU; data are read for a fraction of a
    second. None if no step is small enough to be timed, or if one raises; training then reports the
    error.
    """
    small = sorted((spec for spec in specs if _is_light(task, spec)), key=step_flops)
    if not small:
        return None
    timed = list({spec.id: spec for spec in (small[0], small[len(small) // 2], small[-1])}.values())
    batches = [spec.settings.batch for spec in specs]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with isolated(0), _one_thread():
        try:
            held_out = _held_out_reading(task)
            reading = _reading(task, min(batches), max(batches))
            sizes = [time_size(task, spec, held_out.batch, device) for spec in timed]
        except IsoflopError:
            raise
        except (
            Exception
        ):  # the user's model may do at a real batch what it did not on the meta device
            return None
        return Speed(
            steps=_fit_rate([size.step for size in sizes]),
            peak_flops_per_second=peak_flops(device, is_bf16(timed[0].settings.precision, device)),
            reading=reading,
            evaluation=_evaluation_speed(task, held_out, sizes),
            startup=_fit_rate([size.start for size in sizes]),
            overlaps=device == "cuda" and reading.num_workers == 0,
        )


def _is_light(task: Task, spec: RunSpec) -> bool:
    if step_flops(spec) > MAX_TIMED_FLOPS:
        return False
    counted = count_size(task, spec.size)
    known = run_bytes(spec, counted)
    states = state_bytes(counted.num_params, counted.params)
    return (states if known is None else known) <= MAX_TIMED_BYTES


@per_task
def _reading(task: Task, fewest: int, most: int) -> ReadingSpeed:
    return measure_reading(open_data(task.train_data, "train_data"), (fewest, most)).speed


@per_task
def _held_out_reading(task: Task) -> MeasuredReading:
    source = open_data(task.val_data, "val_data")
    _, batch = held_out_examples(task, source)
    return measure_reading(source, [batch], held_out=True)


def _evaluation_speed(
    task: Task, read: MeasuredReading, sizes: Sequence[TimedSize]
) -> EvaluationSpeed:
    source, num_passes = open_data(task.val_data, "val_data"), int(task.recipe.eval_passes)
    num_examples, batch = held_out_examples(task, source)
    if source.kind == "batches":
        batch = read.num_examples
    return EvaluationSpeed(
        forward=_fit_rate([size.evaluation for size in sizes]),
        reading=read.speed,
        num_batches=num_passes * math.ceil(num_examples / batch),
        batch=batch,
        num_passes=num_passes,
        tokens_per_batch=batch * token_supply(task).tokens_per_example,
    )


def _fit_rate(points: Sequence[tuple[float, float]]) -> Rate:
    """Overhead and rate, neither negative, by least squares on the relative error of the points.

    points: the work of a call and its seconds.
    """
    work, seconds = np.array(points).T
    if len(points) == 1:  # one point cannot separate the two: the rate holds the overhead
        return Rate(0.0, float(work[0] / seconds[0]))
    scale = np.array([seconds.max(), seconds.max() / work.max()])
    design = np.stack([1 / seconds, work / seconds], axis=1) * scale
    overhead, per_work = nnls(design, np.ones(len(points)))[0] * scale
    return Rate(float(overhead), float(1 / per_work) if per_work > 0 else math.inf)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
