"""Stack: models of one shape as rows of a matrix, with their gradients and AdamW in one program."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from isoflop.errors import IsoflopError
from isoflop.task import Task
from isoflop.training.state import State
from isoflop.user_code.data import mapped, tensors_in
from isoflop.user_code.loss import batch_loss

__all__ = ["NotPacked", "Stack", "stacked"]


class NotPacked(IsoflopError):
    """Raised where runs cannot be trained in one program; its text is the reason."""


def stacked(batches: Sequence[object]) -> object:
    """The batches of several runs as one whose tensors have a first dimension of runs.

    Raises NotPacked where they differ in anything but the values of their tensors.
    """
    shapes = [mapped(batch, lambda tensor: (tensor.shape, tensor.dtype)) for batch in batches]
    if any(other != shapes[0] for other in shapes[1:]):
        raise NotPacked("the batches of two runs have different shapes")
    columns = zip(*map(tensors_in, batches), strict=True)
    tensors = iter([torch.stack(column) for column in columns])
    return mapped(batches[0], lambda _: next(tensors))


class Stack:
    """The weights of several runs and the states of their AdamW, one row for each run.

    states: of the runs, with a model each. They are out of date from the first step of the stack
        on, until `unload`.

    Shapes: r runs, p trained parameters of a model.
    """

    def __init__(self, task: Task, states: Sequence[State]) -> None:
        self.states = states
        # a copy, since torch.func does not restore modules that have two names
        self._loss = _Loss(task, copy.deepcopy(states[0].model))
        trained = states[0].trained
        if len({(tensor.dtype, tensor.device) for tensor in trained}) > 1:
            raise NotPacked("the parameters are of several types")
        if trained[0].dtype not in (torch.float32, torch.float64):
            raise NotPacked("the parameters are of a shorter type than fp32")  # AdamW's own rounds
        self._shapes = [tensor.shape for tensor in trained]
        ids = {id(tensor) for tensor in trained}
        own = _Loss(task, states[0].model)
        self._names = [name for name, tensor in own.named_parameters() if id(tensor) in ids]
        self._fixed = _fixed_of([_Loss(task, state.model) for state in states], self._names)
        self.weights = torch.stack([_row(state.trained) for state in states])  # (r, p)
        self._means, self._squares = (
            torch.stack([_row(_moments(state, name)) for state in states])
            for name in ("exp_avg", "exp_avg_sq")
        )
        rates, decays = zip(*(_rates(state) for state in states), strict=True)
        self._rates = torch.stack(rates)
        self._shrinkage = self._rates * torch.stack(decays)

    def gradients(self, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients (r, p) and losses (r) of a stacked batch."""

        def loss_of(
            weights: Mapping[str, torch.Tensor],
            fixed: Mapping[str, torch.Tensor],
            tensors: Sequence[torch.Tensor],
        ) -> torch.Tensor:
            left = iter(tensors)
            own = mapped(batch, lambda _: next(left))
            loss: torch.Tensor = functional_call(self._loss, {**weights, **fixed}, (own,))
            return loss

        weights = dict(zip(self._names, self._parts(self.weights), strict=True))
        found, losses = vmap(grad_and_value(loss_of))(weights, self._fixed, list(tensors_in(batch)))
        flat = [found[name].reshape(len(self.states), -1) for name in self._names]
        return torch.cat(flat, dim=1), losses.detach().to(torch.float32)

    @torch.no_grad()
    def step(
        self,
        gradients: torch.Tensor,
        factors: Sequence[float],
        betas: tuple[float, float],
        clip: float | None,
    ) -> None:
        """Take a step of AdamW, as torch.optim.AdamW does, with the rates of each run.

        factors: shares of the peak learning rate.
        """
        if clip is not None:  # as nn.utils.clip_grad_norm_
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients = gradients * (clip / (norms + 1e-6)).clamp(max=1.0)
        steps = [state.step + 1 for state in self.states]
        scales = [
            [factor / (1 - betas[0] ** step) for factor, step in zip(factors, steps, strict=True)],
            [math.sqrt(1 - betas[1] ** step) for step in steps],
            factors,
        ]
        # (3, r, 1)
        sizes, roots, shares = torch.tensor(scales).unsqueeze(-1).to(self.weights)
        self.weights.mul_(1 - self._shrinkage * shares)
        self._means.lerp_(gradients, 1 - betas[0])
        self._squares.mul_(betas[1]).addcmul_(gradients, gradients, value=1 - betas[1])
        epsilon = self.states[0].optimizer.defaults["eps"]
        divisors = self._squares.sqrt().div_(roots).add_(epsilon)
        self.weights.addcdiv_(self._means * (self._rates * sizes), divisors, value=-1)

    @torch.no_grad()
    def unload(self) -> None:
        """Bring the states up to date: weights into models, moments into optimisers."""
        tables = (self.weights, self._means, self._squares)
        for row, state in enumerate(self.states):
            held = [self._parts(table[row, None]) for table in tables]
            for tensor, weight, mean, square in zip(state.trained, *held, strict=True):
                tensor.copy_(weight[0])
                state.optimizer.state[tensor] = {
                    "step": torch.tensor(float(state.step), device=tensor.device),
                    "exp_avg": mean[0].clone(),
                    "exp_avg_sq": square[0].clone(),
                }

    def _parts(self, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        """The columns of each parameter, in its shape."""
        parts = torch.split(rows, [shape.numel() for shape in self._shapes], dim=1)
        return (
            part.view(len(rows), *shape) for part, shape in zip(parts, self._shapes, strict=True)
        )


class _Loss(nn.Module):
    """A model's loss of a batch as a module, whose weights can be given by name."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: object) -> torch.Tensor:
        return batch_loss(self.task, self.model, batch)


def _fixed_of(modules: Sequence[nn.Module], trained: Sequence[str]) -> dict[str, torch.Tensor]:
    """Buffers and parameters that are not trained, stacked over runs."""
    held = [dict([*module.named_parameters(), *module.named_buffers()]) for module in modules]
    names = [name for name in held[0] if name not in trained]
    return {name: torch.stack([each[name].detach() for each in held]) for name in names}


def _row(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _moments(state: State, name: str) -> list[torch.Tensor]:
    """A moment of each trained parameter; zeros before the first step."""
    held = state.optimizer.state
    return [
        held[tensor][name] if tensor in held else torch.zeros_like(tensor)
        for tensor in state.trained
    ]


def _rates(state: State) -> tuple[torch.Tensor, torch.Tensor]:
    """Peak learning rate and weight decay of each parameter, two rows (p)."""
    of_group = {
        id(tensor): (group["peak_lr"], group["weight_decay"])
        for group in state.optimizer.param_groups
        for tensor in group["params"]
    }
    rate, decay = (
        _row([torch.full_like(tensor, of_group[id(tensor)][k]) for tensor in state.trained])
        for k in (0, 1)
    )
    return rate, decay
