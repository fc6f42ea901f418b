"""Runs that test_rank_cases.py trains on one process and, as a program, on two."""

import json
import os
import signal
import sys
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset

import isoflop
from isoflop.storage.directory import DirectoryStore
from isoflop.training import loop
from isoflop.training.executors.contract import Demand
from isoflop.training.executors.work import TaskWork
from isoflop.training.loop import train_model
from tasks import MLP, mlp_task

RANK = int(os.environ.get("RANK", "0"))


class Spare(MLP):
    """An MLP with a layer that nothing uses."""

    def __init__(self, width):
        super().__init__(width)
        self.unused = nn.Linear(width, 2)
        nn.init.constant_(self.unused.weight, 1.0)


class Branching(MLP):
    """Each example goes through one of two layers, and the first one is seldom used."""

    def __init__(self, width):
        super().__init__(width)
        self.other = nn.Linear(8, width)

    def forward(self, x):
        if x.device.type == "meta":
            return super().forward(x)
        hidden = x.new_zeros(len(x), self.out.in_features)
        for layer, chosen in ((self.hidden, x[:, 0] > 1.5), (self.other, x[:, 0] <= 1.5)):
            if chosen.any():
                hidden = hidden.index_copy(0, chosen.nonzero()[:, 0], layer(x[chosen]))
        return self.out(torch.relu(hidden))


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


def _fails(x):
    return RANK == 1 and x.device.type == "cpu"


class Hungry(MLP):
    def forward(self, x):
        error = torch.OutOfMemoryError("out of memory") if _fails(x) and len(x) > 2 else None
        return self.out(Failing.apply(torch.relu(self.hidden(x)), error))


class Broken(MLP):
    calls = 0

    def forward(self, x):
        Broken.calls += x.device.type == "cpu"
        error = ValueError("my layer") if _fails(x) and Broken.calls > 4 else None
        return self.out(Failing.apply(torch.relu(self.hidden(x)), error))


class Checkpointed(MLP):
    """A layer that two reentrant checkpoints share gets its gradient in two parts."""

    def __init__(self, width):
        super().__init__(width)
        self.shared = nn.Linear(width, width)

    def forward(self, x):
        x = self.hidden(x)
        for _ in range(2):
            x = torch.relu(x)
            needs_gradient = torch.is_grad_enabled() and x.requires_grad
            x = checkpoint(self.shared, x, use_reentrant=True) if needs_gradient else self.shared(x)
        return self.out(x)


class Blocks(MLP):
    """An MLP with repeated blocks, which are sharded one by one."""

    def __init__(self, width):
        super().__init__(width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        x = self.hidden(x)
        for block in self.blocks:
            x = x + block(torch.relu(x))
        return self.out(x)


class Tied(Blocks):
    """Two layers with one weight, and random buffers, which no checkpoint needs to hold."""

    def __init__(self, width):
        super().__init__(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.randn(width), persistent=False)
        self.register_buffer("mask", torch.rand(()) < 2)

    def forward(self, x):
        x = self.hidden(x) + self.offset * self.mask
        return self.out(self.second(torch.relu(self.first(x))))


class Reading(Blocks):
    """Its constructor needs the value of a weight."""

    def __init__(self, width):
        super().__init__(width)
        self.scale = 1 + abs(float(self.out.weight[0, 0]))

    def forward(self, x):
        return super().forward(x) * self.scale


class Loose(Blocks):
    """Has random numbers that are no buffer."""

    def __init__(self, width):
        super().__init__(width)
        self.offsets = [torch.randn(4)]

    def forward(self, x):
        return super().forward(x) + self.offsets[0].to(x.device)


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


class Noisy(Dataset):
    """Examples whose noise is drawn when they are read."""

    def __len__(self):
        return 300

    def __getitem__(self, index):
        inputs = torch.randn(8, generator=torch.Generator().manual_seed(index))
        return inputs + torch.randn(8) / 10, inputs.argmax() % 4


class Stream(IterableDataset):
    """A short stream of two parts that keeps its place."""

    first = number = 0
    num_shards = 2

    def __init__(self, numbers=range(40)):
        self.numbers = numbers

    def shard(self, num_shards, index):
        return Stream(self.numbers[index::num_shards])

    def __iter__(self):
        self.number = self.first
        for number in self.numbers[self.first :]:
            self.number += 1
            yield Noisy()[number]

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.first = state["number"]


AVERAGED = isoflop.Recipe(epochs=None, eval_tokens=63, eval_passes=2, ema=0.2)

CASES = {
    "plain": ({}, 8),
    "uneven": ({"train_data": ragged(), "val_data": ragged()[:64], "loss": token_loss}, 7),
    "empty": ({}, 1),
    "unused": ({"model": Spare}, 5),
    "branching": ({"model": Branching}, 3),
    "hungry": ({"model": Hungry}, 12),
    "broken": ({"model": Broken}, 6),
    "checkpointed": ({"model": Checkpointed}, 6),
    "blocks": ({"model": Blocks, "recipe": AVERAGED, "train_data": Stream()}, 6),
    "tied": ({"model": Tied}, 6),
    "reading": ({"model": Reading}, 6),
    "loose": ({"model": Loose}, 6),
    "workers": ({"train_data": DataLoader(Noisy(), num_workers=2)}, 6),
    "step": ({"step": by_parts, "loss": None}, 6),
}


PLANNED = {}
"""The spec of each case, from the first time that it is prepared."""


def prepared(name, num_steps=12):
    changes, batch = CASES[name]
    recipe = isoflop.Recipe(epochs=None, eval_tokens=64)
    task = mlp_task(**{"recipe": recipe, "sizes": [4, 8, 16], **changes})
    if name not in PLANNED:
        PLANNED[name] = isoflop.plan(task, budgets=[1e6]).specs[2]
    spec = PLANNED[name]
    num_tokens = num_steps * batch * spec.tokens_per_example
    return task, replace(spec, batch=batch, num_tokens=num_tokens, warmup=0.1)


def trained(name, store=None, *, sharded=False):
    task, spec = prepared(name)
    demands = {spec.id: Demand(sharded=sharded)}
    work = TaskWork(task, store or isoflop.MemoryStore(), demands=demands)
    try:
        return work(spec)
    finally:
        work.close()


def begin(name, folder, *, sharded=False):
    """Train half of a run and leave its checkpoint in the folder."""
    task, spec = prepared(name)
    calls = iter(range(100))

    def stop():
        return signal.SIGINT if RANK == 0 and next(calls) == 5 else None

    store = DirectoryStore(folder)
    if RANK == 0:
        store.write_spec(spec)
    try:
        train_model(task, spec, store, stop_requested=stop, sharded=sharded)
    except KeyboardInterrupt:
        return
    raise AssertionError("the run was not stopped")


def summary(run):
    return {
        "status": run.status,
        "error": run.error,
        "loss": run.loss,
        "curve": list(run.curve),
        "num_tokens": run.num_tokens,
    }


def num_built():
    """Models that this process has built with values since the last call."""
    number = len(built)
    built.clear()
    return number


built, new_model = [], loop.new_model


def noted(task, size):
    built.append(size)
    return new_model(task, size)


def main(folder):
    loop.new_model = noted
    results = {name: summary(trained(name)) for name in CASES}
    num_built()
    results["sharded"] = summary(trained("blocks", sharded=True))
    results["sharded"]["num_built"] = num_built()
    for name in ("tied", "reading", "loose"):
        results[f"sharded-{name}"] = summary(trained(name, sharded=True))
        results[f"sharded-{name}"]["num_built"] = num_built()
    results["sharded-empty"] = summary(trained("empty", sharded=True))
    for name, sharded in (("plain", False), ("sharded", True)):
        begin("blocks", f"{folder}/from-{name}", sharded=sharded)
        run = trained("blocks", DirectoryStore(f"{folder}/to-{name}"), sharded=sharded)
        results[f"to-{name}"] = summary(run)
    whole, parted = (observed("blocks", sharded=sharded) for sharded in (False, True))
    results["bytes"] = [state_bytes(whole[1]), state_bytes(parted[1])]
    model, _ = observed("unused")
    results["untouched"] = bool((model.unused.weight == 1).all())
    print(f"RESULT {RANK} {json.dumps(results)}\n", end="", flush=True)


def observed(name, *, sharded=False):
    """The model and the optimiser of a run, after its end."""
    seen, make_optimizer = [], loop.make_optimizer

    def kept(task, settings, model):
        seen.append((model, make_optimizer(task, settings, model)))
        return seen[-1][1]

    loop.make_optimizer = kept
    try:
        assert trained(name, sharded=sharded).status == "completed"
    finally:
        loop.make_optimizer = make_optimizer
    return seen[0]


def state_bytes(optimizer):
    """Bytes of weights and optimiser states that this process stores."""
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = [value for values in optimizer.state.values() for value in values.values()]
    local = [getattr(each, "_local_tensor", each) for each in [*weights, *states]]
    return sum(each.numel() * each.element_size() for each in local if each.ndim > 0)


if __name__ == "__main__":
    main(sys.argv[1])
