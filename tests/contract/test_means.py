"""A loss or a metric that adds up over its batch is refused before anything is trained; one that is a mean never is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoflop
from isoflop.counting.check import check_task
from isoflop.user_code.mean import sums_among
from tasks import MLP, mlp_task


class Normed(MLP):
    def __init__(self, width):
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.out(F.dropout(torch.relu(self.norm(self.hidden(x))), 0.3, self.training))


class BatchNormed(MLP):
    """Its outputs depend on the other examples, in evaluation too."""

    def forward(self, x):
        hidden = self.hidden(x)
        return self.out(
            torch.relu((hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 0.1).sqrt())
        )


def contrastive(temperature):
    def loss(outputs, targets):
        views = F.normalize(outputs, dim=1)
        return F.cross_entropy(views @ views.T / temperature, torch.arange(len(views)))

    return loss


def summed(outputs, targets):
    return F.cross_entropy(outputs, targets, reduction="sum")


def noisy(reduction, scale=1.0):
    """As a diffusion model's: noise and its level are drawn for each example."""

    def step(model, batch):
        level = torch.rand(len(batch[0]), 1)
        error = (model(batch[0] + level * torch.randn_like(batch[0])) - F.one_hot(batch[1], 4)) ** 2
        each = error.mean(dim=1) * (1 + scale * level[:, 0])
        return each.sum() if reduction == "sum" else each.mean()

    return step


def with_gradients(model, batch):
    """As of a potential whose gradient is the model: in evaluation too."""
    inputs = batch[0].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    return (slope**2).mean()


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": summed},
        {"loss": lambda outputs, targets: summed(outputs, targets) / 32},
        {"loss": summed, "model": Normed},
        {"step": noisy("sum")},
    ],
)
def test_a_loss_that_is_a_sum_is_refused_before_anything_is_trained(changes):
    with pytest.raises(
        isoflop.ContractError,
        match="The loss must be a mean over targets, but it doubles .*take the mean",
    ):
        isoflop.plan(mlp_task(**changes), budgets=[1e6])


def test_held_out_measures_that_are_sums_are_refused_by_name():
    with pytest.raises(isoflop.ContractError, match="The held-out loss must be a mean"):
        check_task(mlp_task(val_loss=summed))
    with pytest.raises(isoflop.ContractError, match="The metric 'right' must be a mean"):
        check_task(
            mlp_task(metrics={"right": lambda outputs, targets: (outputs.exp()[:, 0]).sum()})
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"model": Normed},
        {"model": BatchNormed},
        {"loss": contrastive(1.0)},
        {"loss": contrastive(0.1)},
        {"loss": contrastive(0.01)},
        {"loss": lambda outputs, targets: 4 * summed(outputs, targets) / outputs.numel()},
        {"loss": lambda outputs, targets: 5 - (outputs * F.one_hot(targets, 4)).sum(dim=1).mean()},
        {"step": noisy("mean")},
        {"step": noisy("mean", scale=20.0)},
        {"step": with_gradients},
        {"metrics": {"accuracy": lambda outputs, targets: outputs.argmax(dim=1) == targets}},
        {"val_loss": F.cross_entropy},
    ],
)
def test_no_other_loss_is_refused(changes):
    torch.manual_seed(0)
    check_task(mlp_task(**changes))


@pytest.mark.parametrize("similarity", [0.0, 0.25, 0.5, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 3.0])
def test_a_contrastive_loss_of_any_sharpness_is_no_sum(similarity):
    def loss(batch):
        return (torch.log1p((len(batch) - 1) * torch.exp(torch.tensor(-similarity))).item(),)

    assert sums_among(loss, torch.zeros(8, 3)) == [False]


def test_a_batch_that_cannot_be_taken_apart_tells_nothing():
    def loss(batch):
        if len(batch) < 8:
            raise RuntimeError("eight or nothing")
        return (8.0,)

    assert sums_among(loss, torch.zeros(8, 3)) == []
    assert sums_among(lambda batch: (float(len(batch)),), torch.zeros(3, 3)) == []
