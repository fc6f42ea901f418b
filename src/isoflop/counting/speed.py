"""Speed of this machine on a task's runs, from a few real steps of small sizes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from isoflop.counting.counting import count_size
from isoflop.counting.memory import run_bytes, state_bytes
from isoflop.counting.peak import is_bf16, peak_flops
from isoflop.counting.sample import batch_of
from isoflop.errors import IsoflopError
from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.user_code.data import to_device
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import batch_loss
from isoflop.user_code.model import build

__all__ = ["Speed", "measure_speed"]

NUM_TIMED_STEPS = 3
MAX_TIMED_FLOPS = 2e10
"""Largest FLOPs of a timed step: about 0.3 s on one CPU core."""
MAX_TIMED_BYTES = 2e9
"""Largest memory of a timed run: a plan leaves the machine to its other programs."""


@dataclass(frozen=True)
class Speed:
    """Seconds of an optimiser step on one worker of this machine: an overhead plus FLOPs at a rate.

    peak_flops_per_second: of a matrix product there, in the precision of the runs.
    """

    overhead_seconds: float
    flops_per_second: float
    peak_flops_per_second: float

    def seconds(self, spec: RunSpec) -> float:
        """Predicted training time of a run."""
        return spec.num_steps * self.overhead_seconds + spec.flops / self.flops_per_second

    def mfu(self, spec: RunSpec) -> float:
        """Predicted share of the peak that a run reaches."""
        return spec.flops / self.seconds(spec) / self.peak_flops_per_second


def measure_speed(task: Task, specs: Sequence[RunSpec]) -> Speed | None:
    """The speed of this machine on these runs, from a few real steps of up to three of them.

    Timed on one thread, as in a worker of a pool, or on the GPU. None if no step is small enough to
    be timed, or if one raises; training then reports the error.
    """
    small = sorted((spec for spec in specs if _is_light(task, spec)), key=_step_flops)
    if not small:
        return None
    timed = list({spec.id: spec for spec in (small[0], small[len(small) // 2], small[-1])}.values())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with isolated(0), _one_thread():
        try:
            points = [_timed_step(task, spec, device) for spec in timed]
        except IsoflopError:
            raise
        except (
            Exception
        ):  # the user's model may do at a real batch what it did not on the meta device
            return None
        return _fit_speed(points, peak_flops(device, is_bf16(timed[0].settings.precision, device)))


def _step_flops(spec: RunSpec) -> float:
    return spec.flops_per_token * spec.step_tokens


def _is_light(task: Task, spec: RunSpec) -> bool:
    if _step_flops(spec) > MAX_TIMED_FLOPS:
        return False
    counted = count_size(task, spec.size)
    known = run_bytes(spec, counted)
    states = state_bytes(counted.num_params, counted.params)
    return (states if known is None else known) <= MAX_TIMED_BYTES


def _timed_step(task: Task, spec: RunSpec, device: str) -> tuple[float, float]:
    """FLOPs of a step in the run's precision, and seconds of the fastest of a few warm steps."""
    model = build(task, spec.size, "cpu").to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    settings = spec.settings
    batch = to_device(batch_of(task, settings.batch), device)
    cost = count_size(task, spec.size).cost

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=is_bf16(settings.precision, device)):
            loss = batch_loss(task, model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    seconds = min(_timed(step) for _ in range(NUM_TIMED_STEPS))
    return (_step_flops(spec) if cost is None else cost.of_batch(batch)), seconds


def _timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _fit_speed(points: list[tuple[float, float]], peak: float) -> Speed:
    """Overhead and rate, neither negative, by least squares on the relative error of the points."""
    flops, seconds = np.array(points).T
    if len(points) == 1:  # one point cannot separate the two: the rate holds the overhead
        return Speed(0.0, float(flops[0] / seconds[0]), peak)
    scale = np.array([seconds.max(), seconds.max() / flops.max()])
    design = np.stack([1 / seconds, flops / seconds], axis=1) * scale
    overhead, per_flop = nnls(design, np.ones(len(points)))[0] * scale
    return Speed(float(overhead), float(1 / per_flop) if per_flop > 0 else math.inf, peak)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
