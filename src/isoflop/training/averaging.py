"""Averaged weights: an exponential moving average over a share of the run, used in evaluation."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoflop.training.sharding import is_sharded

__all__ = ["Average", "averaged_model"]


@dataclass
class Average:
    """Means of a model's parameters and of the running statistics of batch normalisation.

    sources: the model's own tensors.
    means: at least in fp32, so that rounding loses no small step.
    """

    sources: list[torch.Tensor]
    means: list[torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> "Average":
        """The average before the first step."""
        sources = _averaged(model)
        return cls(sources, [source.to(_precise(source.dtype), copy=True) for source in sources])

    @torch.no_grad()
    def update(self, step: int, num_steps: float, share: float) -> None:
        """Include the weights after a step (counted from 0).

        The time constant is a share of the run, so that runs of all lengths are averaged alike.
        For its first steps, as many as the time constant, the average is their plain mean; the
        initial weights are never part of it.
        """
        weight = max(1 / (step + 1), min(1.0, 1 / (share * num_steps)))
        current = [
            source.to(mean.dtype) for source, mean in zip(self.sources, self.means, strict=True)
        ]
        torch._foreach_lerp_(self.means, current, weight)


@torch.no_grad()
def averaged_model(model: nn.Module, average: Average) -> nn.Module:
    """A copy of the model with the means as its weights; a sharded model itself gets them."""
    averaged = model if is_sharded(model) else copy.deepcopy(model)
    for tensor, mean in zip(_averaged(averaged), average.means, strict=True):
        tensor.copy_(mean)
    return averaged


def _averaged(model: nn.Module) -> list[torch.Tensor]:
    tensors = [parameter.detach() for parameter in model.parameters()]
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            tensors += [module.running_mean, module.running_var]  # type: ignore[list-item]
    return tensors


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
