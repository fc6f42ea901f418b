"""Runs that test_rank_cases.py trains on one process and, as a program, on two."""

import os
import sys
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import isoflop
from isoflop.training.executors.work import TaskWork
from tasks import MLP, mlp_task

RANK = int(os.environ.get("RANK", "0"))
MODELS = []


class Kept(MLP):
    """An MLP that remains available after training, with a layer that nothing uses."""

    def __init__(self, width):
        super().__init__(width)
        self.unused = nn.Linear(width, 2)
        MODELS.append(self)


class Branching(MLP):
    """Each example goes through one of two layers, so that few processes use both."""

    def __init__(self, width):
        super().__init__(width)
        self.other = nn.Linear(8, width)

    def forward(self, x):
        chosen = self.hidden if x[0, 0] > 0 else self.other
        return self.out(torch.relu(chosen(x)))


class Failing(torch.autograd.Function):
    """Raises in the backward pass of the second process."""

    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if ctx.error is not None:
            raise ctx.error
        return gradient, None


class Hungry(MLP):
    def forward(self, x):
        error = torch.OutOfMemoryError("out of memory") if RANK == 1 and len(x) > 2 else None
        return self.out(Failing.apply(torch.relu(self.hidden(x)), error))


class Broken(MLP):
    calls = 0

    def forward(self, x):
        Broken.calls += self.training
        error = ValueError("my layer") if RANK == 1 and Broken.calls > 4 else None
        return self.out(Failing.apply(torch.relu(self.hidden(x)), error))


class Checkpointed(MLP):
    """A layer that two reentrant checkpoints share gets its gradient in two parts."""

    def __init__(self, width):
        super().__init__(width)
        self.shared = nn.Linear(width, width)

    def forward(self, x):
        x = self.hidden(x)
        for _ in range(2):
            x = checkpoint(self.shared, torch.relu(x), use_reentrant=True)
        return self.out(x)


def by_parts(model, batch):
    """A step that never calls the model itself."""
    inputs, targets = batch
    return F.cross_entropy(model.out(torch.relu(model.hidden(inputs))), targets)


def ragged():
    """Sequences with very different numbers of targets."""
    inputs = torch.randn(512, 6, 8, generator=torch.Generator().manual_seed(0))
    lengths = torch.randint(1, 7, (512, 1), generator=torch.Generator().manual_seed(1))
    targets = torch.where(torch.arange(6) < lengths, inputs.argmax(dim=2) % 4, -100)
    return list(zip(inputs, targets, strict=True))


def token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


CASES = {
    "plain": ({}, 8),
    "uneven": ({"train_data": ragged(), "val_data": ragged()[:64], "loss": token_loss}, 7),
    "empty": ({}, 1),
    "unused": ({"model": Kept}, 5),
    "branching": ({"model": Branching}, 3),
    "hungry": ({"model": Hungry}, 12),
    "broken": ({"model": Broken}, 6),
    "checkpointed": ({"model": Checkpointed}, 6),
    "step": ({"step": by_parts, "loss": None}, 6),
}


def trained(name, num_steps=12, store=None, **more):
    changes, batch = CASES[name]
    recipe = isoflop.Recipe(epochs=None, eval_tokens=64)
    task = mlp_task(**{"recipe": recipe, "sizes": [4, 8, 16], **changes})
    spec = isoflop.plan(task, budgets=[1e6]).specs[2]
    settings = replace(spec.settings, batch=batch)
    num_tokens = num_steps * batch * settings.tokens_per_example
    spec = replace(spec, settings=settings, num_tokens=num_tokens)
    return TaskWork(task, store or isoflop.MemoryStore(), **more)(spec)


def summary(run):
    return {
        "status": run.status,
        "error": run.error,
        "loss": run.loss,
        "curve": list(run.curve),
        "num_tokens": run.num_tokens,
    }


def main():
    import json

    results = {name: summary(trained(name)) for name in CASES}
    results["untouched"] = untouched()
    print(f"RESULT {RANK} {json.dumps(results)}\n", end="", flush=True)


def untouched():
    """Whether the layer without a gradient has the weights that it began with."""
    model, begun = MODELS[-1], MODELS[-1].unused.weight.detach().clone()
    del model
    return begun.tolist()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
