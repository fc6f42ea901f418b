"""check_pack(): one trial step of stacked models against each model's own, before they train."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter

import torch

from isoflop.errors import first_line
from isoflop.task import Task
from isoflop.training.stack import NotPacked, Stack
from isoflop.training.state import State
from isoflop.user_code.data import mapped
from isoflop.user_code.loss import batch_loss
from isoflop.user_code.randomness import draws_random_numbers

__all__ = ["check_pack"]

TOLERANCE = 1e-5
"""Largest difference of losses, and of gradients as a share of their norm; rounding gives 1e-6."""
NOISE = 0.05
"""Standard deviation of what is added to weights, as layers that start at zero hide the others."""


def check_pack(task: Task, states: Sequence[State], batch: object) -> None:
    """Raise NotPacked unless stacked models give the losses and gradients of each one alone.

    states: of new runs, which are of no further use: their weights are changed.
    batch: a stacked batch on the models' device.
    """
    with _exactly():
        _add_noise(states)
        rows = [mapped(batch, itemgetter(row)) for row in range(len(states))]
        _check_repeatable(task, states[0], rows[0])
        alone = [_alone(task, state, row) for state, row in zip(states, rows, strict=True)]
        gradients, losses = _together(task, states, batch)
    own_gradients, own_losses = (torch.stack(each) for each in zip(*alone, strict=True))
    norms = torch.linalg.vector_norm(own_gradients, dim=1)
    off = torch.linalg.vector_norm(gradients - own_gradients, dim=1)
    near = (losses - own_losses).abs() <= TOLERANCE * own_losses.abs().clamp(min=1.0)
    if not bool((near & (off <= TOLERANCE * norms)).all()):  # NaN is not near, either
        share = float((off / norms).max())
        raise NotPacked(f"stacked, the gradients differ by {share:.0e} of their norm")


def _add_noise(states: Sequence[State]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (tensor for state in states for tensor in state.trained):
            noise = torch.randn(tensor.shape, generator=generator) * NOISE
            tensor.add_(noise.to(tensor))


def _check_repeatable(task: Task, state: State, batch: object) -> None:
    """Raise NotPacked for a model whose step draws random numbers or changes its buffers."""
    buffers = [buffer.clone() for buffer in state.model.buffers()]
    if draws_random_numbers(lambda: batch_loss(task, state.model, batch)):
        raise NotPacked("the model draws random numbers in training, each run its own")
    if any(map(_differ, buffers, state.model.buffers())):
        raise NotPacked("the model changes buffers in training, such as running statistics")


def _differ(before: torch.Tensor, after: torch.Tensor) -> bool:
    return not torch.equal(before, after)


def _alone(task: Task, state: State, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient and loss of one model."""
    loss = batch_loss(task, state.model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    found = [tensor.grad for tensor in state.trained]
    state.drop_gradients()
    gradients = [gradient.flatten() for gradient in found if gradient is not None]
    if len(gradients) < len(found):
        raise NotPacked("some parameters of the model get no gradient")
    return torch.cat(gradients), loss.detach().to(torch.float32)


def _together(
    task: Task, states: Sequence[State], batch: object
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients and losses of a second step, which finds what the first has left in the model."""
    try:
        stack = Stack(task, states)
        stack.gradients(batch)
        return stack.gradients(batch)
    except NotPacked:
        raise
    except Exception as error:  # of any kind: what torch.func cannot do, or the user's code
        raise NotPacked(
            f"the model's step cannot be stacked ({type(error).__name__}: {first_line(error):.150})"
        ) from error


@contextmanager
def _exactly() -> Iterator[None]:
    """A block without the shorter types that GPUs use in products of fp32."""
    precision, convolutions = (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
    )
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
