"""What is wrong with a task's own functions is found before a run is trained, in one sentence that names the part."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import isoflop
from isoflop.errors import IsoflopError
from tasks import MLP, examples, loss, mlp_task


def raising(*arguments, **options):
    raise TypeError("odd arguments")


class Steps(torch.optim.AdamW):
    """Counts its steps, over all that were made."""

    number = 0

    def step(self, closure=None):
        Steps.number += 1
        return super().step(closure)


class NeedsClosure(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class HoldsAnObject(torch.optim.SGD):
    def state_dict(self):
        return {**super().state_dict(), "schedule": Steps}


class NoState:
    """No torch optimiser, though it steps."""

    def __init__(self, groups, lr, betas):
        self.param_groups = [{"params": list(group["params"]), "lr": lr} for group in groups]

    def step(self):
        pass


class Short(Dataset):
    """Says that it has more examples than it has."""

    def __init__(self, num_examples, said):
        self.inner, self.said = examples(num_examples, seed=1), said

    def __len__(self):
        return self.said

    def __getitem__(self, index):
        return self.inner[index]


class Stream(IterableDataset):
    def __init__(self, num_examples, odd=False):
        self.num_examples, self.odd = num_examples, odd

    def __iter__(self):
        data = examples(self.num_examples, seed=1)
        for x, y in data:
            yield (x[:5] if self.odd else x), y


class Extra(MLP):
    """Keeps an object beside its weights."""

    def get_extra_state(self):
        return {"what": Steps}

    def set_extra_state(self, state):
        pass


def without_targets(num_examples=500):
    inputs, targets = examples(num_examples, seed=1).tensors
    return TensorDataset(inputs, torch.full_like(targets, -100))


def of_other_width(num_examples=500):
    inputs, targets = examples(num_examples, seed=1).tensors
    return TensorDataset(inputs[:, :5], targets)


def of_unknown_class(num_examples=500):
    inputs, targets = examples(num_examples, seed=1).tensors
    return TensorDataset(inputs, targets + 10)


def recipe(**changes):
    return {"recipe": isoflop.Recipe(epochs=None, **changes)}


def only_bias(model, lr, weight_decay):
    return [{"params": [nn.Parameter(torch.zeros(3))]}]


FAULTS = {
    "a metric that raises": ({"metrics": {"odd": raising}}, "odd"),
    "a metric that gives a number": (
        {"metrics": {"odd": lambda out, y: 0.5}},
        "'odd' must give a tensor",
    ),
    "a metric of other arguments": ({"metrics": {"odd": lambda out: out.mean()}}, "odd"),
    "a metric that is no function": ({"metrics": {"odd": "accuracy"}}, "odd"),
    "a metric of complex numbers": ({"metrics": {"odd": lambda out, y: torch.fft.fft(out)}}, "odd"),
    "a held-out loss that raises": ({"val_loss": raising}, "odd arguments"),
    "a held-out loss per example": (
        {"val_loss": lambda out, y: F.cross_entropy(out, y, reduction="none")},
        "val_loss.*must give a scalar",
    ),
    "a held-out loss that is no number": (
        {"val_loss": lambda out, y: loss(out, y) * math.nan},
        "held-out loss .*nan",
    ),
    "a held-out loss below 0": (
        {"val_loss": lambda out, y: -loss(out, y)},
        "held-out loss|above 0",
    ),
    "an optimiser that needs a closure": (
        recipe(optimizer=lambda g, lr, betas: NeedsClosure(g, lr=lr)),
        "optimizer",
    ),
    "an optimiser of torch that needs one": (
        recipe(optimizer=lambda g, lr, betas: torch.optim.LBFGS(g[0]["params"], lr=lr)),
        "optimizer",
    ),
    "an optimiser that cannot be saved": (
        recipe(optimizer=lambda g, lr, betas: HoldsAnObject(g, lr=lr)),
        "saved",
    ),
    "an optimiser that is none": (recipe(optimizer=NoState), "optimizer"),
    "an optimiser of other arguments": (recipe(optimizer=torch.optim.SGD), "optimizer"),
    "an optimiser of nothing": (recipe(optimizer=lambda g, lr, betas: None), "optimizer"),
    "groups that raise": (recipe(groups=raising), "groups"),
    "groups that are none": (recipe(groups=lambda model, lr, decay: None), "groups"),
    "groups without params": (recipe(groups=lambda model, lr, decay: [{"lr": lr}]), "groups"),
    "groups of nothing": (recipe(groups=lambda model, lr, decay: []), "groups"),
    "groups of another model": (recipe(groups=only_bias), "groups"),
    "validation data that end early": ({"val_data": Short(300, 500)}, "val_data"),
    "training data that end early": ({"train_data": Short(3000, 4000)}, "train_data"),
    "validation data without targets": ({"val_data": without_targets()}, "val_data.*target"),
    "validation data of another width": ({"val_data": of_other_width()}, "val_data|shapes"),
    "validation data of unknown classes": (
        {"val_data": of_unknown_class()},
        "val_data|out of bounds",
    ),
    "an empty validation stream": ({"val_data": Stream(0)}, "val_data"),
    "a model that cannot be saved": ({"model": Extra}, "saved"),
    "a rule that raises": (recipe(lr=lambda n: 0.1), "lr"),
    "a rule that gives nothing": (recipe(warmup=lambda n, d: None), "warmup"),
    "a rule that gives text": (recipe(weight_decay=lambda n, d: "0.1"), "weight_decay"),
    "a rule that gives inf": (recipe(lr=lambda n, d: math.inf), "lr"),
    "a rule of betas that gives nothing": (recipe(beta2=lambda tokens: None), "beta2"),
    "a count of tokens that is none": ({"count_tokens": lambda batch: 0.5}, "count_tokens"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_users_is_found_before_anything_is_trained(name, tmp_path, capsys):
    changes, part = FAULTS[name]
    with pytest.raises(IsoflopError, match=part) as caught:
        task = mlp_task(**{**changes, "sizes": [4, 8, 16]})
        isoflop.train(task, isoflop.plan(task, budgets=[3e5]), store=tmp_path, progress=False)
    assert len(str(caught.value)) <= 300
    assert not list(tmp_path.glob("*/spec.json"))


RIGHT = {
    "more held-out tokens than there are": recipe(eval_tokens=10**9),
    "one held-out token": recipe(eval_tokens=1),
    "a held-out stream": {"val_data": Stream(300)},
    "a short held-out stream": {"val_data": Stream(1)},
    "one held-out example": {"val_data": examples(1, seed=1)},
    "held-out data of which some have no target": {
        "val_data": torch.utils.data.ConcatDataset([without_targets(3), examples(300, seed=1)])
    },
    "a metric that is no number at the start": {
        "metrics": {"ratio": lambda out, y: out.mean() * math.nan}
    },
    "a metric of whole numbers": {"metrics": {"right": lambda out, y: out.argmax(1) == y}},
    "an optimiser of the user's": recipe(optimizer=lambda groups, lr, betas: Steps(groups, lr=lr)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_trained(name, tmp_path):
    task = mlp_task(**{**RIGHT[name], "sizes": [4, 8, 16]})
    sweep = isoflop.plan(task, budgets=[3e5], check_rates=None)
    runs = isoflop.train(task, sweep, store=tmp_path, progress=False)
    assert {run.status for run in runs} == {"completed"}
