"""train_model(): trains one spec. Build, resume, loop, evaluate."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from isoflop.counting.counting import BatchCounter
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.averaging import Average, averaged_model
from isoflop.training.batches import training_batches
from isoflop.training.branches import branch_off, waiting_branches
from isoflop.training.data_workers import AS_LOADED, DataWorkers
from isoflop.training.device_copies import DeviceCopies
from isoflop.training.evaluation import evaluate
from isoflop.training.executors.contract import CHECKPOINT_SECONDS, Progress
from isoflop.training.interrupt import leave
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.reduction import GradientSum
from isoflop.training.run_parts import DATA, INIT, NOT_EVALUATED, autocast, data_of, ended_run
from isoflop.training.saving import Saver
from isoflop.training.sharded_model import new_sharded_model
from isoflop.training.state import State, add_point, next_point, resume
from isoflop.training.step import StepContext, train_step
from isoflop.training.trackers import open_trackers
from isoflop.training.watchdog import beat
from isoflop.user_code.model import build_without_values, check_count
from isoflop.user_code.optimiser import make_optimizer, new_model
from isoflop.user_code.randomness import mix, reseed, seeded

__all__ = ["train_model"]


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
    source, settings = data_of(task, spec, data_workers), spec.settings
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
            mode = task.recipe.compile if isinstance(task.recipe.compile, str) else None
            forward = torch.compile(model, mode=mode)  # type: ignore[assignment]
        counter = BatchCounter(task, spec.size, spec.flops_per_token)
        precision = autocast(settings, ranks.device)
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
            if state.num_tokens >= next_point(state, spec):
                error = add_point(state)
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
                saved = time.perf_counter()  # a slow disk must not take all of the time
            if stop:
                leave(stop)
        batches.close()  # data workers turn to the evaluation
        # evaluate
        held_out = NOT_EVALUATED
        if error is None:
            held_out = evaluate(task, _evaluated(state), ranks, context.precision, data_workers)
            log({"loss": held_out.loss, **held_out.metrics}, state.step)
    return ended_run(spec, state, ranks, held_out, error, wall_seconds=time.perf_counter() - began)


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


def _evaluated(state: State) -> nn.Module:
    """The model to evaluate, with averaged weights if the run has them."""
    return state.model if state.average is None else averaged_model(state.model, state.average)
