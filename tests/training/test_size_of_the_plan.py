"""A run's model has the size that was planned: laws are fitted to that number."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoflop
from isoflop.planning.sweep import Sweep
from tasks import MLP, mlp_task


class DrawnByTorch(MLP):
    def __init__(self, width):
        super().__init__(width + int(torch.randint(0, 3, ())))


class DrawnByPython(MLP):
    def __init__(self, width):
        super().__init__(width + random.randint(0, 3))


class DrawnByItself(MLP):
    draw = random.Random(0)

    def __init__(self, width):
        super().__init__(width + self.draw.randint(0, 3))


class Growing(MLP):
    built = 0

    def __init__(self, width):
        Growing.built += 1
        super().__init__(width + Growing.built)


@pytest.mark.parametrize("model", [DrawnByTorch, DrawnByPython, DrawnByItself, Growing])
def test_a_model_whose_size_is_random_is_refused_when_planned(model):
    with pytest.raises(
        isoflop.ContractError,
        match=r"same number of params each time .* has \d+ at one time and \d+ at",
    ):
        isoflop.plan(
            mlp_task(model=model, sizes=(8, 16, 32, 64), fingerprint="random"), budgets=[1e6]
        )


class LargerWhenTrained(MLP):
    def __init__(self, width):
        super().__init__(width)
        if self.out.weight.device.type == "cpu":
            self.more = nn.Linear(3, 4)


def test_a_model_of_another_size_than_planned_is_no_record_of_that_size():
    task = mlp_task(model=LargerWhenTrained, fingerprint="larger")
    sweep = isoflop.plan(task, budgets=[1e6])
    store = isoflop.MemoryStore()
    runs = isoflop.train(task, Sweep(specs=sweep.specs[:2]), store=store, progress=False)
    assert [run.status for run in runs] == ["failed", "failed"]
    for run in runs:
        assert run.num_tokens == 0
        assert (
            f"has {run.spec.num_params + 16:.0f} params instead of {run.spec.num_params:.0f}"
            in run.error
        )


def test_a_spec_with_another_count_is_no_record_of_that_count():
    task = mlp_task(fingerprint="other")
    spec = isoflop.plan(task, budgets=[1e6]).specs[0]
    wrong = replace(spec, num_params=2 * spec.num_params)
    run = isoflop.train(task, Sweep(specs=(wrong,)), store=isoflop.MemoryStore(), progress=False)[0]
    assert run.status == "failed"
    assert f"has {spec.num_params} params instead of {2 * spec.num_params}" in run.error
