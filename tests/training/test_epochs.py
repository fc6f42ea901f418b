"""Runs at several numbers of passes over parts of the data, which are known, counted and nested."""

from dataclasses import replace

import pytest
from torch.utils.data import Dataset

import isoflop
from isoflop.laws.points import Points
from isoflop.training.batches import part_of
from isoflop.training.loop import train_model
from isoflop.user_code.data import open_data
from tasks import examples, mlp_task


class Counted(Dataset):
    """Notes which examples were read."""

    def __init__(self, num_examples):
        self.data, self.read = examples(num_examples), []

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.read.append(index)
        return self.data[index]


def planned(epochs, num_examples=60_000, **changes):
    task = mlp_task(train_data=examples(num_examples), **changes)
    return task, isoflop.plan(task, budgets=[1e6, 3e6], epochs=epochs)


def test_each_run_is_made_once_per_number_of_passes():
    _, sweep = planned((1, 4))
    cells = {(spec.size, spec.num_tokens): [] for spec in sweep.specs}
    for spec in sweep.specs:
        cells[spec.size, spec.num_tokens].append(spec.epochs)
        assert spec.epochs * spec.unique_tokens == pytest.approx(spec.num_tokens)
    assert all(passes == pytest.approx([1, 4], rel=0.05) for passes in cells.values())
    assert len({spec.id for spec in sweep.specs}) == len(sweep.specs)


def test_a_run_reads_its_part_as_often_as_was_planned():
    data = Counted(60_000)
    task = mlp_task(train_data=data)
    spec = isoflop.plan(task, budgets=[1e6], epochs=[4]).specs[3]
    data.read.clear()
    run = train_model(task, spec, isoflop.MemoryStore())
    assert run.status == "completed"
    assert run.num_tokens == spec.num_tokens
    trained = data.read[8 : 8 + round(spec.num_tokens)]  # after a look at whether reading is random
    assert len(set(trained)) == round(spec.unique_tokens)
    assert 3 <= min(trained.count(index) for index in list(set(trained))[:20]) <= 5


def test_the_fit_knows_the_unique_tokens():
    _, sweep = planned((1, 4))
    runs = [
        isoflop.Run(
            spec=spec, status="completed", loss=1.0, num_tokens=spec.num_tokens, flops=spec.flops
        )
        for spec in sweep.specs
    ]
    points = Points.of(runs)
    assert points.unique == pytest.approx([spec.unique_tokens for spec in sweep.specs], rel=1e-6)


def test_parts_are_nested_and_differ_by_seed():
    source = open_data(list(range(1000)), "train_data")
    small, large, other = (
        part_of(source, size, seed) for size, seed in ((10, 1), (100, 1), (100, 2))
    )
    read = [[part.data[k] for k in range(part.num_examples)] for part in (small, large, other)]
    assert set(read[0]) < set(read[1]) != set(read[2])
    assert large.gather([3, 4]).tolist() == read[1][3:5]


def test_more_than_four_passes_are_warned_of():
    _, sweep = planned((1, 8))
    assert any("Runs take up to 8" in note and "beyond 4" in note for note in sweep.notes)
    assert not any("beyond 4" in note for note in planned((1, 4))[1].notes if "up to 4.0" in note)


def test_what_cannot_be_swept_is_refused_with_the_remedy():
    with pytest.raises(
        isoflop.PlanError,
        match="different tokens, but the training data have 2.00k; sweep more epochs",
    ):
        planned((1, 4), num_examples=2000)
    with pytest.raises(isoflop.PlanError, match="must be a number of passes from 1"):
        planned((0.5,))
    with pytest.raises(isoflop.PlanError, match="must be a map-style dataset"):
        task = mlp_task(train_data=lambda seed: iter([examples(8)[:8]] * 1000))
        isoflop.plan(task, budgets=[1e6], epochs=(1, 4))
    with pytest.raises(isoflop.PlanError, match=r"give budgets, or leave out epochs\."):
        isoflop.plan(mlp_task(), target=1e9, spend=1e8, epochs=(1, 4))


def test_the_same_tokens_without_a_sweep_have_the_ids_they_had():
    task = mlp_task()
    spec = isoflop.plan(task, budgets=[1e6]).specs[0]
    assert spec.unique_tokens is None
    assert replace(spec, unique_tokens=10.0).id != spec.id
