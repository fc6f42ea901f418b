"""train_model(): trains one spec. Build, resume, loop, evaluate."""

import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from isoflop.counting.counting import BatchCounter
from isoflop.counting.peak import is_bf16, peak_flops
from isoflop.runs import Run, RunSpec
from isoflop.settings import Settings
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.averaging import Average, averaged_model
from isoflop.training.batches import part_of, training_batches
from isoflop.training.branches import branch_off, waiting_branches
from isoflop.training.data_workers import AS_LOADED, DataWorkers
from isoflop.training.device_copies import DeviceCopies
from isoflop.training.evaluation import Evaluation, evaluate
from isoflop.training.executors.contract import CHECKPOINT_SECONDS, Progress
from isoflop.training.interrupt import leave
from isoflop.training.measured_reading import with_workers
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.reduction import GradientSum
from isoflop.training.saving import Saver
from isoflop.training.sharded_model import new_sharded_model
from isoflop.training.state import State, resume
from isoflop.training.step import StepContext, train_step
from isoflop.training.trackers import open_trackers
from isoflop.training.versions import versions
from isoflop.training.watchdog import beat
from isoflop.user_code.data import Source, open_data
from isoflop.user_code.model import build_without_values, check_count
from isoflop.user_code.optimiser import make_optimizer, new_model
from isoflop.user_code.randomness import mix, reseed, seeded

__all__ = ["train_model"]

CURVE_POINTS = 100

NOT_EVALUATED = Evaluation(math.nan, None, {})

DATA, INIT, PART = 1, 3, 4
"""First parts of random keys: data order, initial weights, parts of the data.

step.py has 2 for dropout, evaluation.py 5.
"""


def train_model(
    task: Task,
    spec: RunSpec,
    store: Store,
    *,
    on_progress: Callable[[Progress], object] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    trackers: Sequence[str] = (),
    data_workers: DataWorkers = AS_LOADED,
    stop_requested: Callable[[], int | None] = lambda: None,
    branches: Sequence[RunSpec] = (),
    sharded: bool = False,
) -> Run:
    """Train one spec and return its run, held-out loss included.

    Training resumes from the store's checkpoint bit for bit. Under `torchrun` all processes train
    the run together: the same batches, split among them, the same schedule, the same held-out set.
    The run stops as "diverged" when its training loss is no longer finite.

    stop_requested: called between steps; returns a signal's number to stop the run, else None.
    branches: runs that share this run's constant-rate trunk; their checkpoints are written where
        they leave it.
    sharded: store a part of the weights, gradients and optimiser states on each process.

    Raises KeyboardInterrupt, or SystemExit(75) for SIGTERM, after a requested stop has saved a
    checkpoint; and errors of the user's code.
    """
    ranks, began = current_ranks(), time.perf_counter()
    source, settings = _data(task, spec, data_workers), spec.settings
    share = (ranks.rank, ranks.num_ranks)
    with seeded(0), open_trackers(trackers, spec, store, ranks) as log:
        # build
        sharded = sharded and ranks.num_ranks > 1
        model = _new_model(task, spec, ranks, sharded=sharded).train()
        state = State(model, make_optimizer(task, settings, model))
        state.places.num_ranks = ranks.num_ranks
        if settings.ema is not None:
            state.average = Average.of(model)
        forward = model
        if task.recipe.compile:
            forward = torch.compile(model)  # type: ignore[assignment]
        counter = BatchCounter(task, spec.size, spec.flops_per_token)
        precision = _autocast(settings, ranks.device)
        sums = None if sharded or ranks.num_ranks == 1 else GradientSum(state.parameters)
        copies = DeviceCopies(ranks.device)
        context = StepContext(task, spec, ranks, forward, precision, counter, copies, sums)
        # resume
        resume(state, spec, store, ranks)
        began -= state.seconds
        order = mix(DATA, spec.seed)
        read = training_batches(
            source, settings.batch, order, state.step, task.recipe.epochs, share, state.places
        )
        batches = copies.ahead(read)
        waiting = waiting_branches(branches, state, store)
        saver, saved = Saver(spec, store), time.perf_counter()
        started = saved - state.seconds
        error = None
        # loop
        while state.num_tokens < spec.num_tokens and error is None:
            stop = train_step(context, state, batches, stop_requested())
            beat()
            # once in a while: read the loss
            if state.num_tokens >= _next_point(state, spec):
                error = _add_point(state)
                if error is None:
                    log({"train_loss": state.curve[-1][1], "tokens": state.num_tokens}, state.step)
                if error is None and on_progress is not None and ranks.is_first:
                    on_progress(Progress(spec, state.num_tokens, state.curve[-1][1]))
            now = time.perf_counter()
            state.seconds = now - started
            # where branches leave the trunk: save for them
            if (
                waiting
                and error is None
                and branch_off(waiting, state, store, is_first=ranks.is_first, is_sharded=sharded)
            ):
                saved = time.perf_counter()
            # once in a while, and for a requested stop: save
            is_due = now - saved > checkpoint_seconds
            if sharded:  # all processes save together
                is_due = ranks.summed([ranks.is_first and is_due]) == [1]
            if (stop or is_due) and error is None:
                if ranks.is_first or sharded:
                    saver.save(state, waiting, is_first=ranks.is_first)
                saved = now
            if stop:
                leave(stop)
        batches.close()  # data workers turn to the evaluation
        # evaluate
        held_out = NOT_EVALUATED
        if error is None:
            held_out = evaluate(task, _evaluated(state), ranks, context.precision, data_workers)
            log({"loss": held_out.loss, **held_out.metrics}, state.step)
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
        wall_seconds=time.perf_counter() - began,
        peak_flops_per_second=ranks.num_ranks
        * peak_flops(ranks.device.type, is_bf16(settings.precision, ranks.device.type)),
        device=_device_name(ranks.device, ranks.num_ranks),
        versions=versions(),
        error=error,
        group=spec.trunk,
    )


def _new_model(task: Task, spec: RunSpec, ranks: Ranks, *, sharded: bool) -> nn.Module:
    """The untrained model of a spec on its device, or on those of all ranks."""

    def whole() -> nn.Module:
        reseed(INIT, spec.seed)
        model = new_model(task, spec.settings.size)
        check_count(task, model, spec.size, spec.num_params)
        return model

    if sharded:
        size = spec.settings.size
        return new_sharded_model(whole, lambda: build_without_values(task, size), ranks)
    return whole().to(ranks.device)


def _data(task: Task, spec: RunSpec, data_workers: DataWorkers) -> Source:
    """The training data, or the part of them that the run repeats."""
    source = with_workers(open_data(task.train_data, "train_data"), data_workers)
    settings = spec.settings
    if settings.unique_tokens is None:
        return source
    num_examples = round(settings.unique_tokens / settings.tokens_per_example)
    return part_of(source, num_examples, mix(PART, spec.seed))


def _next_point(state: State, spec: RunSpec) -> float:
    """Tokens at the next point of the curve; a branch continues from fewer points, its trunk's."""
    last = state.curve[-1][0] if state.curve else 0.0
    return (
        spec.num_tokens
        * (math.floor(CURVE_POINTS * last / spec.num_tokens + 1e-9) + 1)
        / CURVE_POINTS
    )


def _add_point(state: State) -> str | None:
    """Add the mean of the recent losses to the curve, or return why the run must stop."""
    losses = state.recent_losses()
    for k, loss in enumerate(losses):
        if not math.isfinite(loss):
            return f"the training loss was {loss} at step {state.step - len(losses) + k + 1}"
    state.curve.append((float(state.num_tokens), sum(losses) / len(losses)))
    state.recent.clear()
    return None


def _evaluated(state: State) -> nn.Module:
    """The model to evaluate, with averaged weights if the run has them."""
    return state.model if state.average is None else averaged_model(state.model, state.average)


def _autocast(settings: Settings, device: torch.device) -> AbstractContextManager[object]:
    return (
        torch.autocast(device.type, torch.bfloat16)
        if is_bf16(settings.precision, device.type)
        else nullcontext()
    )


def _device_name(device: torch.device, num_ranks: int) -> str:
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} ({platform.machine()})"
    )
    return name if num_ranks == 1 else f"{num_ranks} x {name}"
