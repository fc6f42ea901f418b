"""Bare loops over tiny models, one after the other or stacked: what packing runs can gain."""

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

__all__ = ["train_apart", "train_stacked"]


def train_apart(models: list[nn.Module], inputs: torch.Tensor, loss, num_steps: int) -> float:
    """Train each model on its own inputs, one after the other; the mean of the last losses.

    inputs: tokens (model, example, position), which are also the targets.
    """
    last = []
    for model, own in zip(models, inputs, strict=True):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(num_steps):
            value = loss(model(own), own)
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
        last.append(value.detach())
    return float(torch.stack(last).mean())


def train_stacked(models: list[nn.Module], inputs: torch.Tensor, loss, num_steps: int) -> float:
    """The same training as one program over stacked weights."""
    params, buffers = stack_module_state(models)
    # a tied layer is stacked once for each of its names; the first stands for all
    params = {name: params[name] for name, _ in models[0].named_parameters()}

    def value(weights, own_buffers, own):
        return loss(functional_call(models[0], (weights, own_buffers), (own,)), own)

    gradients = vmap(grad_and_value(value))
    optimizer = torch.optim.AdamW(params.values(), lr=1e-3)
    for _ in range(num_steps):
        by_name, losses = gradients(params, buffers, inputs)
        for name, weights in params.items():
            weights.grad = by_name[name]
        optimizer.step()
    return float(losses.detach().mean())
