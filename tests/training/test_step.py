import math

import pytest
import torch
from torch import nn

import isoflop
from isoflop.training.executors.work import TaskWork
from isoflop.training.loop import train_model
from isoflop.training.step import split
from isoflop.user_code.data import num_examples_in
from tasks import MLP, examples, loss, mlp_task


def spec_of(task, index=3):
    return isoflop.plan(task, budgets=[1e6]).specs[index]


def small_memory(limit):
    """A model that runs out of memory above `limit` examples per forward pass, once it is trained."""

    class Hungry(MLP):
        def forward(self, x):
            if self.training and x.device.type == "cpu" and len(x) > max(limit, 2):
                raise torch.OutOfMemoryError("CUDA out of memory: tried to allocate 80 GiB")
            return super().forward(x)

    return Hungry


def test_a_batch_that_does_not_fit_is_taken_in_pieces_to_the_same_result():
    task = mlp_task()
    spec = spec_of(task)
    assert spec.batch > 12
    whole = train_model(task, spec, isoflop.MemoryStore())
    sizes = []

    class Hungry(small_memory(6)):
        def forward(self, x):
            out = super().forward(x)
            sizes.append(len(x)) if self.training else None
            return out

    pieces = train_model(mlp_task(model=Hungry), spec, isoflop.MemoryStore())
    assert pieces.status == "completed"
    assert max(sizes) <= 6
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert pieces.num_tokens == whole.num_tokens


def test_one_example_that_does_not_fit_fails_the_run_with_its_reason():
    class Impossible(MLP):
        def forward(self, x):
            if self.training and self.hidden.weight.device.type == "cpu":
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    spec = spec_of(mlp_task())
    run = TaskWork(mlp_task(model=Impossible), isoflop.MemoryStore())(spec)
    assert run.status == "failed"
    assert run.error.startswith("OutOfMemoryError: out of memory")


def test_pieces_of_a_batch_keep_its_structure():
    batch = {
        "x": torch.arange(10),
        "pair": (torch.ones(10, 2), list(range(10))),
        "shared": torch.zeros(3),
        "k": 5,
    }
    pieces = split(batch, 4)
    assert [num_examples_in(piece) for piece in pieces] == [4, 4, 2]
    assert pieces[1]["x"].tolist() == [4, 5, 6, 7]
    assert pieces[2]["pair"][1] == [8, 9]
    assert pieces[0]["shared"].shape == (3,)
    assert pieces[0]["k"] == 5


def test_pieces_are_weighted_by_their_targets():
    """Examples with few targets must not weigh as much as those with many."""
    inputs = torch.randn(8, 6, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.where(torch.arange(8)[:, None] < 6, inputs.argmax(dim=2) % 4, -100)
    targets[0] = torch.where(torch.arange(6) < 1, targets[0], -100)
    data = list(zip(inputs, targets, strict=True))

    def token_loss(outputs, targets):
        return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    recipe = isoflop.Recipe(epochs=None, batch_tokens=48.0)
    task = mlp_task(train_data=data, val_data=data[1:6], loss=token_loss, recipe=recipe)
    spec = spec_of(task)
    whole = train_model(task, spec, isoflop.MemoryStore())
    pieces = train_model(
        mlp_task(
            train_data=data,
            val_data=data[1:6],
            loss=token_loss,
            recipe=recipe,
            model=small_memory(2),
        ),
        spec,
        isoflop.MemoryStore(),
    )
    assert whole.status == pieces.status == "completed"
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-3)


def test_a_batch_of_nan_diverges_with_its_step():
    class Poisoned(torch.utils.data.Dataset):
        def __init__(self):
            self.data = examples(4000)

        def __len__(self):
            return 4000

        def __getitem__(self, index):
            x, y = self.data[index]
            return (x * math.nan if index == 1234 else x), y

    run = train_model(
        mlp_task(train_data=Poisoned()), spec_of(mlp_task(), 0), isoflop.MemoryStore()
    )
    assert run.status == "diverged"
    assert run.error.startswith("the training loss was nan at step ")
    assert run.num_tokens < run.spec.num_tokens


def test_a_stream_that_ends_early_fails_with_the_remedy():
    class Short:
        def __iter__(self):
            return iter(list(examples(4000))[:50])

    task = mlp_task(train_data=Short(), recipe=isoflop.Recipe(epochs=1))
    spec = spec_of(task)
    run = TaskWork(task, isoflop.MemoryStore())(spec)
    assert run.status == "failed"
    assert "train_data ended after 1 pass of 50 items" in run.error
    assert "Recipe(epochs=None)" in run.error


def test_a_rank_with_fewer_examples_than_processes_gets_none():
    from isoflop.training.batches import training_batches
    from isoflop.user_code.data import open_data

    source = open_data(examples(100), "train_data")
    whole = next(training_batches(source, 3, 0, 5, None))
    parts = [next(training_batches(source, 3, 0, 5, None, (rank, 4))) for rank in range(4)]
    assert [None if part is None else len(part[1]) for part in parts] == [None, 1, 1, 1]
    assert torch.equal(torch.cat([part[0] for part in parts if part is not None]), whole[0])


@pytest.mark.parametrize("schedule", ["linear", "wsd", "constant"])
def test_every_schedule_trains(schedule):
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, schedule=schedule))
    assert train_model(task, spec_of(task), isoflop.MemoryStore()).loss < math.log(4)


def test_averaged_weights_are_what_is_evaluated():
    plain, averaged = mlp_task(), mlp_task(recipe=isoflop.Recipe(epochs=None, ema=0.05))
    one = train_model(plain, spec_of(plain), isoflop.MemoryStore())
    other = train_model(averaged, spec_of(averaged), isoflop.MemoryStore())
    assert one.curve == other.curve
    assert one.loss != other.loss
    assert other.loss == pytest.approx(one.loss, rel=0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of torch's own, while it imports its compiler
def test_a_compiled_model_trains_to_the_same_loss():
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, compile=True))
    plain = train_model(mlp_task(), spec_of(mlp_task()), isoflop.MemoryStore())
    spec = spec_of(task)
    assert spec.id == plain.spec.id
    assert train_model(task, spec, isoflop.MemoryStore()).loss == pytest.approx(
        plain.loss, rel=1e-4
    )


@pytest.mark.parametrize(("given", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead")])
def test_the_mode_of_compilation_reaches_torch_and_changes_no_id(given, mode, monkeypatch):
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, compile=given))
    spec, modes = spec_of(task), []
    monkeypatch.setattr(torch, "compile", lambda model, mode: modes.append(mode) or model)
    run = train_model(task, spec, isoflop.MemoryStore())
    assert modes == [mode]
    assert run.id == spec_of(mlp_task()).id


def test_groups_have_learning_rates_of_their_own():
    seen = []

    def groups(model, lr, weight_decay):
        seen.append((lr, weight_decay))
        return [
            {"params": model.hidden.parameters(), "lr": lr / 4},
            {"params": model.out.parameters(), "lr": 0.0},
        ]

    task = mlp_task(recipe=isoflop.Recipe(epochs=None, groups=groups))
    spec = spec_of(task)
    seen.clear()  # a plan times a few steps
    run = train_model(task, spec, isoflop.MemoryStore())
    assert seen == [(spec.lr, 0.1)]
    assert run.loss > train_model(mlp_task(loss=loss), spec, isoflop.MemoryStore()).loss
