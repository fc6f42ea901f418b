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
from isoflop.training.retries import PassingElsewhere, is_out_of_memory, is_passing
from isoflop.training.schedule import lr_factor
from isoflop.training.state import State
from isoflop.user_code.data import num_examples_in, sliced
from isoflop.user_code.loss import batch_loss, count_tokens
from isoflop.user_code.randomness import reseed

__all__ = ["StepContext", "split", "train_step"]

MODEL = 2
"""First part of the random key of a step; data order and initial weights have other keys."""


@dataclass(frozen=True)
class StepContext:
    """What all steps of a run share.

    forward: the model to call, compiled if the recipe says so.
    precision: autocast context around each forward pass.
    counter: counter of the FLOPs of batches.
    copies: the batches on the device.
    """

    task: Task
    spec: RunSpec
    ranks: Ranks
    forward: nn.Module
    precision: AbstractContextManager[object]
    counter: BatchCounter
    copies: DeviceCopies


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


def _set_rates(context: StepContext, state: State) -> None:
    """The learning rate of each group for this step."""
    spec, settings = context.spec, context.spec.settings
    # The position by tokens equals the step count if all steps have equally many tokens; if not,
    # it still ends on time.
    num_steps = spec.num_steps
    position = num_steps * state.num_tokens / spec.num_tokens
    factor = lr_factor(settings.schedule, settings.warmup, position, num_steps, settings.cooldown)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def _all_gradients(
    context: StepContext, state: State, batches: Iterator[object], stop: int | None
) -> tuple["_Attempt", int | None]:
    """Leave the gradient of the batch's mean loss in the parameters.

    Returns the attempt that succeeded, and the stop signal.
    """
    batch, error = _fetched(batches)
    while True:
        attempt = (
            _Attempt(error=error) if error is not None else _try_gradients(context, state, batch)
        )
        may_shrink = is_out_of_memory(attempt.error) and _piece_size(state, batch) > 1
        if context.ranks.num_ranks > 1:
            attempt, stop, may_shrink = _agreed(context, state, attempt, stop, may_shrink)
        if attempt.error is None:
            return attempt, stop
        if not may_shrink:
            raise attempt.error
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


def _try_gradients(context: StepContext, state: State, batch: object) -> _Attempt:
    reseed(MODEL, context.spec.seed, state.step, context.ranks.rank)
    try:
        return _own_gradients(context, state, batch)
    except Exception as error:  # shared with the other processes, then raised or retried in halves
        return _Attempt(error=error)


def _agreed(
    context: StepContext, state: State, own: _Attempt, stop: int | None, may_shrink: bool
) -> tuple[_Attempt, int | None, bool]:
    """Attempt, stop signal and whether to try smaller pieces, equal on all processes.

    Gradients are summed over processes.
    """
    ranks, failed = context.ranks, own.error is not None
    weight = own.num_tokens * own.loss.item()
    passes = own.error is not None and is_passing(own.error)
    sums = ranks.summed(
        [failed, failed and may_shrink, passes, own.num_tokens, own.flops, weight, stop or 0]
    )
    num_failed, num_shrinkable, num_passing, tokens, flops, weighted, signal = sums
    if num_failed:
        error: Exception = own.error or IsoflopError(
            "Another process failed at this step; its output says why."
        )
        if num_failed == num_passing:  # all processes must take the same decision
            error = PassingElsewhere(f"{type(error).__name__}: {error}")
        return _Attempt(error=error), stop, num_failed == num_shrinkable
    _weigh(state.model, own.num_tokens / max(1.0, tokens))
    ranks.sum_gradients(state.model.parameters())
    loss = torch.tensor(weighted / max(1.0, tokens), device=ranks.device)
    return _Attempt(int(tokens), flops, loss), int(signal) or None, False


def _fetched(batches: Iterator[object]) -> tuple[object, Exception | None]:
    try:
        return next(batches), None
    except Exception as error:
        return None, error


def _own_gradients(context: StepContext, state: State, batch: object) -> _Attempt:
    """Add the gradient of the mean over this process's targets."""
    num_tokens = 0 if batch is None else count_tokens(context.task, batch)
    if num_tokens == 0:
        return _Attempt(loss=torch.zeros((), device=context.ranks.device))
    pieces = split(batch, state.micro_batch)
    if len(pieces) == 1:
        return _Attempt(
            num_tokens, context.counter.flops(batch, num_tokens), _backward(context, pieces[0], 1.0)
        )
    counts = [count_tokens(context.task, piece) for piece in pieces]
    # the mean over no targets is NaN
    taken = [(piece, count) for piece, count in zip(pieces, counts, strict=True) if count > 0]
    losses = [_backward(context, piece, count / num_tokens) for piece, count in taken]
    flops = sum(context.counter.flops(piece, count) for piece, count in taken)
    return _Attempt(num_tokens, flops, torch.stack(losses).sum())


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


def _weigh(model: nn.Module, weight: float) -> None:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, weight)


def split(batch: object, size: int | None) -> list[object]:
    """A batch in pieces of at most `size` examples; in one piece for None."""
    if size is None:
        return [batch]
    num_examples = num_examples_in(batch)
    return [sliced(batch, slice(k, k + size), num_examples) for k in range(0, num_examples, size)]
