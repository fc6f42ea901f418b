"""Small tasks that the tests train: a multi-layer perceptron on a noisy teacher, all on synthetic data."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import isoflop


class MLP(nn.Module):
    def __init__(self, width, num_inputs=8, num_classes=4):
        super().__init__()
        self.hidden, self.out = nn.Linear(num_inputs, width), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def examples(num_examples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_examples, 8, generator=generator)
    teacher = torch.randn(8, 4, generator=torch.Generator().manual_seed(7))
    return TensorDataset(inputs, (inputs.sin() @ teacher).argmax(dim=1))


def loss(outputs, targets):
    return F.cross_entropy(outputs, targets)


def mlp_task(**changes):
    """With the same recipe and sizes the same object: isoflop counts the sizes of a task once, which takes a while."""
    return _kept(**changes) if changes.keys() <= {"recipe", "sizes"} else _made(**changes)


def _made(**changes):
    fields = {
        "model": MLP,
        "size_param": "width",
        "train_data": examples(4000),
        "val_data": examples(500, seed=1),
        "loss": loss,
        "recipe": isoflop.Recipe(epochs=None),
    }
    return isoflop.Task(**{**fields, **changes})


_cached = lru_cache(typed=True)(_made)


def _kept(**changes):
    try:
        return _cached(**changes)
    except TypeError:  # a list of sizes
        return _made(**changes)


BUDGETS = [1e6, 3e6, 1e7]
