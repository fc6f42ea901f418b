"""Times of a few real steps of one size: training, evaluation, and the start of a run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from isoflop.counting.counting import count_size
from isoflop.counting.peak import is_bf16
from isoflop.counting.sample import batch_of
from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.user_code.data import num_examples_in, sliced, to_device
from isoflop.user_code.loss import batch_loss, batch_measures, count_tokens
from isoflop.user_code.optimiser import make_optimizer, new_model
from isoflop.user_code.randomness import reseed

__all__ = ["MAX_TIMED_FLOPS", "TimedSize", "step_flops", "time_size"]

NUM_TIMED_STEPS, NUM_QUICK_STEPS = 3, 5
MOST_SECONDS, QUICK_SECONDS = 1.0, 0.002
"""Time after which no more steps of a size are timed; steps up to the second are quick ones."""
LOOP_SECONDS = 1e-4
"""Of a training step beside the model, the optimiser and the data: an assumption."""
MAX_TIMED_FLOPS = 2e10
"""Largest FLOPs of a timed step: about 0.3 s on one CPU core."""


@dataclass(frozen=True)
class TimedSize:
    """(FLOPs, seconds) of a training step and of an evaluation batch, and (params, seconds) to
    start a run; FLOPs are those that training on the same tokens takes.
    """

    step: tuple[float, float]
    evaluation: tuple[float, float]
    start: tuple[float, float]


def step_flops(spec: RunSpec) -> float:
    """FLOPs of a training step."""
    return spec.flops_per_token * spec.step_tokens


def time_size(task: Task, spec: RunSpec, held_out: object, device: str) -> TimedSize:
    """Time the steps of a run's size, in its precision and with its optimiser.

    held_out: a batch of the evaluation, of which a part is taken where the size is large.
    """
    started = time.perf_counter()
    model = new_model(task, spec.settings.size).to(device).train()
    optimizer = make_optimizer(task, spec.settings, model)
    built = time.perf_counter() - started
    batch = batch_of(task, spec.settings.batch)
    step = _synchronised(_step_of(task, spec, model, optimizer, batch, device), device)
    first, seconds = _first_and_usual(step)
    cost = count_size(task, spec.size).cost
    flops = step_flops(spec) if cost is None else cost.of_batch(batch)
    return TimedSize(
        (flops, seconds + LOOP_SECONDS),
        _timed_evaluation(task, spec, model, held_out, device),
        (spec.num_params, built + max(0.0, first - seconds)),
    )


def _step_of(
    task: Task,
    spec: RunSpec,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: object,
    device: str,
) -> Callable[[], object]:
    """A training step, as training takes it."""
    settings, parameters = spec.settings, list(model.parameters())
    averages = [parameter.detach().clone() for parameter in parameters] if settings.ema else []

    def step() -> None:
        reseed(0)
        count_tokens(task, batch)
        with torch.autocast(device, torch.bfloat16, enabled=is_bf16(settings.precision, device)):
            loss = batch_loss(task, model, to_device(batch, device))
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        if averages:
            torch._foreach_lerp_(averages, [one.detach() for one in parameters], 0.1)
        for parameter in parameters:
            parameter.grad = None

    return step


def _timed_evaluation(
    task: Task, spec: RunSpec, model: nn.Module, held_out: object, device: str
) -> tuple[float, float]:
    """FLOPs of training on the tokens of a batch, and seconds of evaluating it."""
    number = num_examples_in(held_out)
    flops = count_tokens(task, held_out) * spec.flops_per_token
    if flops > MAX_TIMED_FLOPS:
        fewer = max(1, int(number * MAX_TIMED_FLOPS / flops))
        held_out = sliced(held_out, slice(0, fewer), number)
        flops = count_tokens(task, held_out) * spec.flops_per_token
    precision, needs_gradients = spec.settings.precision, task.step is not None

    def evaluate() -> None:
        reseed(0)
        count_tokens(task, held_out)
        with (
            torch.autocast(device, torch.bfloat16, enabled=is_bf16(precision, device)),
            torch.set_grad_enabled(needs_gradients),
        ):
            batch_measures(task, model, to_device(held_out, device))

    model.eval()
    return max(1.0, flops), _first_and_usual(_synchronised(evaluate, device))[1]


def _synchronised(call: Callable[[], object], device: str) -> Callable[[], object]:
    """A call that ends when the device has done its work."""
    if device != "cuda":
        return call

    def synchronised() -> None:
        call()
        torch.cuda.synchronize()

    return synchronised


def _first_and_usual(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the first call, and the median of a few warm ones."""
    first, times = _timed(call), [_timed(call)]
    number = NUM_QUICK_STEPS if times[0] < QUICK_SECONDS else NUM_TIMED_STEPS
    while len(times) < number and first + sum(times) < MOST_SECONDS:
        times.append(_timed(call))
    return first, statistics.median(times)


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
