"""One optimiser step: gradients over micro-batches and processes, clipped and applied."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import nn

from isoflop.counting.counting import BatchCounter
from isoflop.errors import IsoflopError
from isoflop.runs import RunSpec
from isoflop.task import Task
from isoflop.training.device_copies import DeviceCopies
from isoflop.training.ranks import Ranks
from isoflop.training.reduction import GradientSum
from isoflop.training.retries import LeftAlone, PassingElsewhere, is_out_of_memory, is_passing
from isoflop.training.schedule import lr_factor
from isoflop.training.state import State
from isoflop.user_code.data import num_examples_in, sliced
from isoflop.user_code.loss import batch_loss, count_tokens
from isoflop.user_code.randomness import reseed

__all__ = ["StepContext", "rate_factor", "split", "train_step"]

MODEL = 2
"""First part of the random key of a step; data order and initial weights have other keys."""


@dataclass(frozen=True)
class StepContext:
    """What all steps of a run share.

    forward: the model to call, compiled if the recipe says so.
    precision: autocast context around each forward pass.
    counter: counter of the FLOPs of batches.
    copies: the batches on the device.
    gradient_sum: sum of gradients over ranks; None for one process, and for sharded weights, whose
        modules sum them.
    """

    task: Task
    spec: RunSpec
    ranks: Ranks
    forward: nn.Module
    precision: AbstractContextManager[object]
    counter: BatchCounter
    copies: DeviceCopies
    gradient_sum: GradientSum | None = None

    @property
    def is_sharded(self) -> bool:
        """Whether each rank stores a part of every weight."""
        return self.ranks.num_ranks > 1 and self.gradient_sum is None


def train_step(
    context: StepContext, state: State, batches: Iterator[object], stop: int | None
) -> int | None:
    """Take one step; return the signal that requested a stop of any process, or None.

    A batch that does not fit into memory is taken in halves, from this step on. Errors of the
    user's code are raised on all processes.
    """
    settings = context.spec.settings
    _set_rates(context, state)
    done, stop = _all_gradients(context, state, batches, stop)
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(state.trained, settings.clip)
    state.optimizer.step()
    state.drop_gradients()
    if state.average is not None and settings.ema is not None:
        state.average.update(state.step, context.spec.num_steps, settings.ema)
    state.recent.append(done.loss)
    state.step += 1
    state.num_tokens += done.num_tokens
    state.flops += done.flops
    return stop


def rate_factor(spec: RunSpec, num_tokens: float) -> float:
    """Share of the peak learning rate after so many tokens."""
    # The position by tokens equals the step count if all steps have equally many tokens; if not,
    # it still ends on time.
    settings, num_steps = spec.settings, spec.num_steps
    position = num_steps * num_tokens / spec.num_tokens
    return lr_factor(settings.schedule, settings.warmup, position, num_steps, settings.cooldown)


def _set_rates(context: StepContext, state: State) -> None:
    """The learning rate of each group for this step."""
    factor = rate_factor(context.spec, state.num_tokens)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _all_gradients(
    context: StepContext, state: State, batches: Iterator[object], stop: int | None
) -> tuple["_Attempt", int | None]:
    """Leave the gradient of the batch's mean loss in the parameters.

    Returns the attempt that succeeded, and the stop signal.
    """
    batch, error = _fetched(batches)
    if context.is_sharded:
        return _sharded_gradients(context, state, batch, error, stop)
    while True:
        attempt = _try_gradients(context, state, batch, error)
        may_shrink = is_out_of_memory(attempt.error) and _piece_size(state, batch) > 1
        if context.gradient_sum is not None:
            attempt, stop, may_shrink = _agreed(context, attempt, stop, may_shrink)
        if attempt.error is None:
            return attempt, stop
        if not may_shrink and not attempt.is_late:
            raise attempt.error
        if may_shrink:
            state.micro_batch = math.ceil(_piece_size(state, batch) / 2)
        state.drop_gradients()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Attempt:
    """The outcome of computing a batch's gradients: its counts and loss, or the error."""

    num_tokens: int = 0
    flops: float = 0.0
    loss: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    error: Exception | None = None
    is_late: bool = False
    """Whether gradients must be computed again, and summed after the backward pass."""


def _try_gradients(
    context: StepContext, state: State, batch: object, error: Exception | None
) -> _Attempt:
    """The gradients of this process; with several, their sums over processes are under way."""
    reseed(MODEL, context.spec.seed, state.step, context.ranks.rank)
    sums = context.gradient_sum
    if sums is not None:
        sums.start()
    try:
        if error is not None:
            return _Attempt(error=error)
        return _own_gradients(context, state, batch)
    except Exception as raised:  # shared with the other processes, then raised or retried in halves
        return _Attempt(error=raised)
    finally:
        if sums is not None:
            sums.launch_all()


def _agreed(
    context: StepContext, own: _Attempt, stop: int | None, may_shrink: bool
) -> tuple[_Attempt, int | None, bool]:
    """Attempt, stop signal and whether to try smaller pieces, equal on all processes.

    Gradients are summed over processes.
    """
    sums = context.gradient_sum
    assert sums is not None
    ranks, failed = context.ranks, own.error is not None
    passes = own.error is not None and is_passing(own.error)
    counts = [failed, failed and may_shrink, passes, sums.is_late, own.num_tokens, own.flops]
    total = ranks.summed([*counts, own.loss.item(), stop or 0, *sums.used()])
    num_failed, num_shrinkable, num_passing, num_late, tokens, flops, loss, signal = total[:8]
    if num_failed:
        # all processes must take the same decision
        error = _shared_error(own.error, all_pass=num_failed == num_passing)
        return _Attempt(error=error), stop, num_failed == num_shrinkable
    if num_late:
        sums.overlaps = False
        late = IsoflopError("A gradient changed after it was sent.")
        return _Attempt(error=late, is_late=True), stop, False
    factor = _usual_tokens(context) / max(1.0, tokens)
    sums.finish(total[8:], factor)
    mean = torch.tensor(loss * factor, device=ranks.device)
    return _Attempt(int(tokens), flops, mean), int(signal) or None, False


def _sharded_gradients(
    context: StepContext, state: State, batch: object, error: Exception | None, stop: int | None
) -> tuple[_Attempt, int | None]:
    """The same for sharded weights, whose forward pass no process can leave alone."""
    ranks = context.ranks
    count, error = _counted(context, batch, error)
    passes = error is not None and is_passing(error)
    num_failed, num_passing, num_empty, tokens, signal = ranks.summed(
        [error is not None, passes, count == 0, count, stop or 0]
    )
    if num_failed:
        raise _shared_error(error, all_pass=num_failed == num_passing)
    if num_empty:
        raise IsoflopError(
            f"With sharding every process needs targets at each step, but {num_empty:.0f} of "
            f"{ranks.num_ranks} had none at step {state.step + 1}; take fewer processes or a "
            f"larger batch, or train with sharding=False."
        )
    reseed(MODEL, context.spec.seed, state.step, ranks.rank)
    try:
        # FSDP takes the mean over processes
        weighted = _backward(context, batch, count * ranks.num_ranks / tokens)
    except Exception as raised:
        raise LeftAlone(raised) from raised
    flops = context.counter.flops(batch, count)
    loss, flops = ranks.summed([weighted.item() / ranks.num_ranks, flops])
    mean = torch.tensor(loss, device=ranks.device)
    return _Attempt(int(tokens), flops, mean), int(signal) or None


def _counted(
    context: StepContext, batch: object, error: Exception | None
) -> tuple[int, Exception | None]:
    """The targets of this process's part, or the error of fetching or counting it."""
    if error is not None or batch is None:
        return 0, error
    try:
        return count_tokens(context.task, batch), None
    except Exception as raised:
        return 0, raised


def _shared_error(own: Exception | None, *, all_pass: bool) -> Exception:
    """The error that a process raises when any failed; all_pass: whether all are transient."""
    error = own or IsoflopError("Another process failed at this step; its output says why.")
    return PassingElsewhere(f"{type(error).__name__}: {error}") if all_pass else error


def _usual_tokens(context: StepContext) -> float:
    """Targets of a full batch: parts are weighted by it before their true number is known."""
    return context.spec.settings.batch * context.spec.settings.tokens_per_example


def _fetched(batches: Iterator[object]) -> tuple[object, Exception | None]:
    try:
        return next(batches), None
    except Exception as error:
        return None, error


def _own_gradients(context: StepContext, state: State, batch: object) -> _Attempt:
    """Add the gradient of the mean over this process's targets.

    With several processes it is the sum over targets, divided by the targets of a full batch.
    """
    num_tokens = 0 if batch is None else count_tokens(context.task, batch)
    if num_tokens == 0:
        return _Attempt(loss=torch.zeros((), device=context.ranks.device))
    norm = num_tokens if context.ranks.num_ranks == 1 else _usual_tokens(context)
    pieces = split(batch, state.micro_batch)
    counts = (
        [num_tokens]
        if len(pieces) == 1
        else [count_tokens(context.task, piece) for piece in pieces]
    )
    # the mean over no targets is NaN
    taken = [(piece, count) for piece, count in zip(pieces, counts, strict=True) if count > 0]
    losses = []
    for k, (piece, count) in enumerate(taken, start=1):
        if k == len(taken) and context.gradient_sum is not None:
            context.gradient_sum.last()
        losses.append(_backward(context, piece, count / norm))
    flops = sum(context.counter.flops(piece, count) for piece, count in taken)
    return _Attempt(num_tokens, flops, losses[0] if len(losses) == 1 else torch.stack(losses).sum())


def _backward(context: StepContext, piece: object, share: float) -> torch.Tensor:
    """Add the gradient of a piece's mean loss times its share; return that product."""
    with context.precision:
        loss = batch_loss(context.task, context.forward, context.copies.of(piece))
    weighted = loss if share == 1 else loss * share
    weighted.backward()  # type: ignore[no-untyped-call]
    return weighted.detach().to(torch.float32, copy=True)


def _piece_size(state: State, batch: object) -> int:
    """Examples per forward pass."""
    return state.micro_batch or (1 if batch is None else num_examples_in(batch))


def split(batch: object, size: int | None) -> list[object]:
    """A batch in pieces of at most `size` examples; in one piece for None."""
    if size is None:
        return [batch]
    num_examples = num_examples_in(batch)
    return [sliced(batch, slice(k, k + size), num_examples) for k in range(0, num_examples, size)]
