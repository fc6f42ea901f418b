"""Held-out losses that draw random numbers draw the same for every run, and more passes make their error smaller."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import isoflop
from isoflop.storage.directory import DirectoryStore
from isoflop.training.evaluation import evaluate
from isoflop.training.loop import train_model
from isoflop.training.ranks import current_ranks
from tasks import MLP, examples, mlp_task


def noisy_step(model, batch):
    inputs, targets = batch
    return F.cross_entropy(model(inputs + torch.randn_like(inputs)), targets)


class Masking(torch.utils.data.Dataset):
    """Hides part of each example at random."""

    def __init__(self, num_examples=500):
        self.data = examples(num_examples, seed=1)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        inputs, target = self.data[index]
        return inputs * (torch.rand(8) < 0.5), target


class Stream:
    def __iter__(self):
        return iter(Masking()[k] for k in range(500))


def batches(seed):
    return (
        torch.utils.data.default_collate([Masking()[k + j] for j in range(50)])
        for k in range(0, 500, 50)
    )


RANDOM = {
    "step": {"step": noisy_step},
    "examples": {"val_data": Masking()},
    "stream": {"val_data": Stream()},
    "batches": {"val_data": batches},
}


def evaluated(task, model):
    return evaluate(task, model, current_ranks(), nullcontext())


@pytest.mark.parametrize("changes", RANDOM.values(), ids=RANDOM)
def test_every_evaluation_draws_the_same(changes):
    torch.manual_seed(0)
    task, model = mlp_task(**changes), MLP(5)
    first = evaluated(task, model)
    torch.manual_seed(99)
    torch.randn(7)
    assert evaluated(task, model) == first


@pytest.mark.parametrize("changes", RANDOM.values(), ids=RANDOM)
def test_every_pass_draws_anew_and_passes_make_the_error_smaller(changes):
    torch.manual_seed(0)
    model = MLP(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
    few = [
        evaluated(mlp_task(**changes, recipe=isoflop.Recipe(eval_tokens=500, eval_passes=k)), model)
        for k in (1, 2, 20)
    ]
    assert len({found.loss for found in few}) == 3
    assert few[2].loss_stderr < few[0].loss_stderr


def test_passes_over_a_loss_that_draws_nothing_change_nothing():
    model = MLP(5)
    once, thrice = (
        evaluated(mlp_task(recipe=isoflop.Recipe(eval_passes=k)), model) for k in (1, 3)
    )
    assert thrice.loss == pytest.approx(once.loss, rel=1e-12)
    assert thrice.loss_stderr == pytest.approx(once.loss_stderr, rel=1e-12)


def test_passes_take_part_in_run_ids():
    one, two = (
        isoflop.plan(mlp_task(recipe=isoflop.Recipe(epochs=None, eval_passes=k)), budgets=[1e6])
        .specs[0]
        .id
        for k in (1, 2)
    )
    assert one != two


def test_a_step_may_take_gradients_in_evaluation(tmp_path):
    def step(model, batch):
        inputs = batch[0].clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(model(inputs).logsumexp(1).sum(), inputs, create_graph=True)
        return ((slope - 0.1) ** 2).mean()

    task = mlp_task(step=step)
    spec = isoflop.plan(task, budgets=[1e6]).specs[3]
    assert train_model(task, spec, DirectoryStore(tmp_path)).status == "completed"


def test_a_held_out_loss_of_its_own_is_what_is_recorded():
    smoothed = mlp_task(
        loss=lambda outputs, targets: F.cross_entropy(outputs, targets, label_smoothing=0.3)
    )
    measured = replace(smoothed, val_loss=F.cross_entropy)
    model = MLP(5)
    assert evaluated(measured, model).loss == evaluated(mlp_task(), model).loss
    assert evaluated(measured, model).loss != evaluated(smoothed, model).loss
    one, other = (isoflop.plan(task, budgets=[1e6]).specs[3] for task in (smoothed, measured))
    assert one.id != other.id
    runs = [train_model(task, one, isoflop.MemoryStore()) for task in (smoothed, measured)]
    assert runs[0].curve == runs[1].curve
    assert runs[0].loss > runs[1].loss


def test_a_held_out_loss_of_its_own_serves_models_that_return_theirs():
    class Own(MLP):
        def forward(self, x, targets):
            outputs = super().forward(x)
            return {
                "loss": F.cross_entropy(outputs, targets) + outputs.square().mean(),
                "logits": outputs,
            }

    task = mlp_task(model=Own, loss=None)
    measured = replace(
        task, val_loss=lambda outputs, targets: F.cross_entropy(outputs["logits"], targets)
    )
    model = Own(5)
    assert evaluated(measured, model).loss < evaluated(task, model).loss


def test_a_held_out_loss_beside_a_step_is_refused():
    with pytest.raises(
        isoflop.ContractError, match="val_loss .* let step look at model.training instead"
    ):
        mlp_task(step=noisy_step, val_loss=F.cross_entropy)
    with pytest.raises(isoflop.ContractError, match="val_loss must be a function .* but got 0.1"):
        mlp_task(val_loss=0.1)
