"""What a run begins with and ends with, alone or in a pack: data, precision, and its record."""

import math
import platform
from contextlib import AbstractContextManager, nullcontext

import torch

from isoflop.counting.peak import is_bf16, peak_flops
from isoflop.runs import Run, RunSpec
from isoflop.settings import Settings
from isoflop.task import Task
from isoflop.training.batches import part_of
from isoflop.training.data_workers import DataWorkers
from isoflop.training.evaluation import Evaluation
from isoflop.training.measured_reading import with_workers
from isoflop.training.ranks import Ranks
from isoflop.training.state import State
from isoflop.training.versions import versions
from isoflop.user_code.data import Source, open_data
from isoflop.user_code.randomness import mix

__all__ = ["DATA", "INIT", "NOT_EVALUATED", "autocast", "data_of", "ended_run"]

NOT_EVALUATED = Evaluation(math.nan, None, {})

DATA, INIT, PART = 1, 3, 4
"""First parts of random keys: data order, initial weights, parts of the data.

step.py has 2 for dropout, evaluation.py 5.
"""


def data_of(task: Task, spec: RunSpec, data_workers: DataWorkers) -> Source:
    """The training data, or the part of them that the run repeats."""
    source = with_workers(open_data(task.train_data, "train_data"), data_workers)
    settings = spec.settings
    if settings.unique_tokens is None:
        return source
    num_examples = round(settings.unique_tokens / settings.tokens_per_example)
    return part_of(source, num_examples, mix(PART, spec.seed))


def autocast(settings: Settings, device: torch.device) -> AbstractContextManager[object]:
    """The context of forward passes in a run's precision."""
    return (
        torch.autocast(device.type, torch.bfloat16)
        if is_bf16(settings.precision, device.type)
        else nullcontext()
    )


def ended_run(
    spec: RunSpec,
    state: State,
    ranks: Ranks,
    held_out: Evaluation,
    error: str | None,
    *,
    wall_seconds: float,
) -> Run:
    """The record of a run that has ended; error: why it diverged, or None."""
    if error is None and not math.isfinite(held_out.loss):
        error = f"the held-out loss was {held_out.loss}"
    return Run(
        spec=spec,
        status="diverged" if error else "completed",
        loss=held_out.loss if error is None else math.nan,
        loss_stderr=held_out.loss_stderr,
        metrics=held_out.metrics,
        curve=tuple(state.curve),
        num_tokens=state.num_tokens,
        flops=state.flops,
        seconds=state.seconds,
        wall_seconds=wall_seconds,
        peak_flops_per_second=ranks.num_ranks
        * peak_flops(ranks.device.type, is_bf16(spec.settings.precision, ranks.device.type)),
        device=_device_name(ranks.device, ranks.num_ranks),
        versions=versions(),
        error=error,
        group=spec.trunk,
    )


def _device_name(device: torch.device, num_ranks: int) -> str:
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} ({platform.machine()})"
    )
    return name if num_ranks == 1 else f"{num_ranks} x {name}"
