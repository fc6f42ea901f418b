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
        sweep = isoflop.plan(task, budgets=[budget])
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
