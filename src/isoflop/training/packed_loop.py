"""train_pack(): trains runs of one size, tokens and batch in one program, each with its own record.

A run has its own data order, schedule, clipping, curve and checkpoints, in the form of runs that
are trained alone, and leaves the pack when it ends or diverges.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import cast

from isoflop.counting.counting import BatchCounter
from isoflop.runs import Run, RunSpec
from isoflop.storage.store import Store
from isoflop.task import Task
from isoflop.training.batches import packed_batches
from isoflop.training.data_workers import AS_LOADED, DataWorkers
from isoflop.training.device_copies import DeviceCopies
from isoflop.training.evaluation import evaluate
from isoflop.training.executors.contract import CHECKPOINT_SECONDS, OnProgress, Progress
from isoflop.training.interrupt import leave
from isoflop.training.pack_trial import check_pack
from isoflop.training.ranks import Ranks, current_ranks
from isoflop.training.run_parts import DATA, INIT, NOT_EVALUATED, autocast, data_of, ended_run
from isoflop.training.saving import Saver
from isoflop.training.stack import NotPacked, Stack, stacked
from isoflop.training.state import State, add_point, next_point, resume
from isoflop.training.step import rate_factor
from isoflop.training.watchdog import beat
from isoflop.user_code.data import Source, mapped
from isoflop.user_code.loss import count_tokens
from isoflop.user_code.model import check_count
from isoflop.user_code.optimiser import make_optimizer, new_model
from isoflop.user_code.randomness import mix, reseed, seeded

__all__ = ["train_pack"]


@dataclass
class _Member:
    """A run of the pack; error: why it diverged."""

    spec: RunSpec
    source: Source
    state: State
    saver: Saver
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.error is not None or self.state.num_tokens >= self.spec.num_tokens


@dataclass(frozen=True)
class _Pack:
    """What all steps of a pack share."""

    task: Task
    store: Store
    ranks: Ranks
    counter: BatchCounter
    data_workers: DataWorkers
    on_progress: OnProgress | None
    checkpoint_seconds: float
    stop_requested: Callable[[], int | None]


def train_pack(
    task: Task,
    specs: Sequence[RunSpec],
    store: Store,
    *,
    on_progress: OnProgress | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    data_workers: DataWorkers = AS_LOADED,
    stop_requested: Callable[[], int | None] = lambda: None,
) -> Generator[Run, None, None]:
    """Train specs that differ in seed, learning rate and weight decay alone; yield each run.

    Each run resumes from its checkpoint, whether it was trained alone or in a pack. The seconds of
    a run are its share of the pack's.

    Raises NotPacked, before anything is trained, where one program does not give the losses and
    gradients of each run alone; and what `train_model` raises. No run has failed then: each can be
    trained alone.
    """
    began, first = time.perf_counter(), specs[0]
    counter = BatchCounter(task, first.size, first.flops_per_token)
    pack = _Pack(
        task,
        store,
        current_ranks(),
        counter,
        data_workers,
        on_progress,
        checkpoint_seconds,
        stop_requested,
    )
    with seeded(0):
        _try(pack, [_begun(pack, spec) for spec in specs])
        members = [_begun(pack, spec) for spec in specs]
        start_seconds = (time.perf_counter() - began) / len(specs)
        while members:
            _train(pack, members)
            for member in [member for member in members if member.is_over]:
                members.remove(member)
                run = _ended(pack, member, start_seconds)
                yield replace(run, versions={**run.versions, "packed": f"{len(specs)} runs"})
                _leave_if_requested(pack, members)


def _begun(pack: _Pack, spec: RunSpec) -> _Member:
    """A run at its start, or where its checkpoint is."""
    task, settings = pack.task, spec.settings
    source = data_of(task, spec, pack.data_workers)
    if source.kind != "examples":
        raise NotPacked(f"{source.name} cannot be read by index")
    reseed(INIT, spec.seed)
    model = new_model(task, settings.size).train()
    check_count(task, model, spec.size, spec.num_params)
    model.to(pack.ranks.device)
    state = State(model, make_optimizer(task, settings, model))
    resume(state, spec, pack.store, pack.ranks)
    if state.micro_batch is not None:
        raise NotPacked("a batch does not fit into memory")
    return _Member(spec, source, state, Saver(spec, pack.store))


def _try(pack: _Pack, members: Sequence[_Member]) -> None:
    """Check the first step of the pack; the members are of no further use."""
    copies = DeviceCopies(pack.ranks.device)
    with closing(_batches(pack, members, copies)) as batches:
        batch = copies.of(next(batches))
    check_pack(pack.task, [member.state for member in members], batch)


def _batches(
    pack: _Pack, members: Sequence[_Member], copies: DeviceCopies
) -> Generator[object, None, None]:
    """Stacked batches from each run's next step on, on their way to the device."""
    read = packed_batches(
        [member.source for member in members],
        members[0].spec.settings.batch,
        [mix(DATA, member.spec.seed) for member in members],
        [member.state.step for member in members],
    )
    return copies.ahead(_all_stacked(read))


def _all_stacked(read: Generator[object, None, None]) -> Generator[object, None, None]:
    with closing(read):
        for batches in read:
            yield stacked(cast(list[object], batches))


def _train(pack: _Pack, members: Sequence[_Member]) -> None:
    """Train until any of the members is over, and leave all their states up to date."""
    copies = DeviceCopies(pack.ranks.device)
    stack = Stack(pack.task, [member.state for member in members])
    saved = last = time.perf_counter()
    with closing(_batches(pack, members, copies)) as batches:
        while not any(member.is_over for member in members):
            stop = pack.stop_requested()
            _step(pack, stack, members, copies, next(batches))
            beat()
            now = time.perf_counter()
            for member in members:
                member.state.seconds += (now - last) / len(members)
            last = now
            if stop or now - saved > pack.checkpoint_seconds:
                stack.unload()
                _save(members)
                saved = time.perf_counter()  # a slow disk must not take all of the time
            if stop:
                leave(stop)
    stack.unload()


def _step(
    pack: _Pack, stack: Stack, members: Sequence[_Member], copies: DeviceCopies, batch: object
) -> None:
    """One step of each run, its loss read once in a while."""
    settings = members[0].spec.settings
    counts = [_counted(pack, batch, row) for row in range(len(members))]
    with autocast(settings, pack.ranks.device):
        gradients, losses = stack.gradients(copies.of(batch))
    factors = [rate_factor(member.spec, member.state.num_tokens) for member in members]
    stack.step(gradients, factors, (settings.beta1, settings.beta2), settings.clip)
    for member, (num_tokens, flops), loss in zip(members, counts, losses, strict=True):
        state = member.state
        state.recent.append(loss)
        state.step += 1
        state.num_tokens += num_tokens
        state.flops += flops
        if state.num_tokens >= next_point(state, member.spec):
            member.error = add_point(state)
            if member.error is None and pack.on_progress is not None:
                pack.on_progress(Progress(member.spec, state.num_tokens, state.curve[-1][1]))


def _counted(pack: _Pack, batch: object, row: int) -> tuple[int, float]:
    """Targets and FLOPs of a run's batch."""
    own = mapped(batch, itemgetter(row))
    num_tokens = count_tokens(pack.task, own)
    if num_tokens == 0:
        raise NotPacked("a batch has no targets")
    return num_tokens, pack.counter.flops(own, num_tokens)


def _ended(pack: _Pack, member: _Member, start_seconds: float) -> Run:
    """The record of a run that is over, with its held-out loss unless it diverged."""
    spec, state, began, held_out = member.spec, member.state, time.perf_counter(), NOT_EVALUATED
    if member.error is None:
        precision = autocast(spec.settings, pack.ranks.device)
        held_out = evaluate(pack.task, state.model, pack.ranks, precision, pack.data_workers)
    seconds = start_seconds + state.seconds + time.perf_counter() - began
    return ended_run(spec, state, pack.ranks, held_out, member.error, wall_seconds=seconds)


def _leave_if_requested(pack: _Pack, members: Sequence[_Member]) -> None:
    """Save the members and leave the program if a stop is requested before they have ended."""
    stop = pack.stop_requested()
    if stop is not None and members:
        _save(members)
        leave(stop)


def _save(members: Sequence[_Member]) -> None:
    for member in members:
        if member.error is None:
            member.saver.save(member.state, (), is_first=True)
