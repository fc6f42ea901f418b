import sys
from dataclasses import replace
from pathlib import Path

import pytest

import isoflop
from isoflop.planning.sweep import Sweep

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


@pytest.fixture
def train_two():
    """Plans a tiny budget for a task and trains two of its runs for real."""

    def train(task, budget):
        task = replace(task, recipe=replace(task.recipe, eval_tokens=2**11, epochs=None))
        if task.sizes is not None:  # no more of them are counted than a plan needs
            task = replace(task, sizes=task.sizes[:4])
        sweep = isoflop.plan(task, budgets=[budget], check_rates=None)
        two = Sweep(specs=sweep.specs[1:3])
        return isoflop.train(task, two, store=isoflop.MemoryStore(), progress=False)

    return train


@pytest.fixture
def few_images(monkeypatch):
    """Few enough of the teacher's images to be made in no time."""

    def shrink(module):
        monkeypatch.setattr(module, "NUM_IMAGES", 400)
        monkeypatch.setattr(module, "NUM_HELD_OUT", 200)

    return shrink
