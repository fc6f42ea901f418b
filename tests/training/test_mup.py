"""Rates by width keep activations' scale; one rate for all does not, and the check says so."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import isoflop
from isoflop.training.loop import train_model
from isoflop.user_code.mup import scaled_parameters
from isoflop.user_code.optimiser import make_optimizer, new_model
from tasks import mlp_task

WIDTHS = [32, 64, 128, 256]


class Deep(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.out(self.norm(x + torch.relu(self.hidden(x))))


class TinyGPT(nn.Module):
    """One block; attention scores are divided by the width of a head, as muP asks for."""

    def __init__(self, width, tied=False):
        super().__init__()
        self.embed = nn.Embedding(16, width)
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(width),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 16, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = (
            part.unflatten(-1, (2, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=8 / q.shape[-1])
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x))


def gpt_task(recipe, **kwargs):
    tokens = torch.randint(0, 16, (64, 9), generator=torch.Generator().manual_seed(0))
    data = TensorDataset(tokens[:, :-1], (tokens[:, :-1] * 3 + 1) % 16)
    loss = lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten())  # noqa: E731
    return isoflop.Task(
        model=TinyGPT,
        size_param="width",
        model_kwargs=kwargs,
        train_data=data,
        val_data=data,
        loss=loss,
        recipe=recipe,
    )


STANDARD = isoflop.Recipe(lr=0.01, epochs=None)
MUP = isoflop.Recipe.mup(base_size=32, lr=0.01, epochs=None)


def tasks(recipe):
    return {"perceptron": mlp_task(model=Deep, recipe=recipe), "gpt": gpt_task(recipe)}


@pytest.mark.parametrize("model", ["perceptron", "gpt"])
def test_the_check_passes_rates_by_width(model):
    check = isoflop.coordinate_check(tasks(MUP)[model], WIDTHS)
    assert check.passed, str(check)
    assert "Passed" in str(check)


@pytest.mark.parametrize("model", ["perceptron", "gpt"])
def test_the_check_fails_one_rate_for_all_widths(model):
    check = isoflop.coordinate_check(tasks(STANDARD)[model], WIDTHS)
    assert not check.passed
    assert max(check.slopes.values()) > 0.4
    assert "grows" in str(check)
    assert "Recipe.mup" in check.notes[0]


def test_a_tied_output_layer_is_named():
    check = isoflop.coordinate_check(gpt_task(MUP, tied=True), WIDTHS)
    assert any("embed.weight is used by two layers" in note for note in check.notes)


def test_each_parameter_is_found_to_be_what_it_is():
    task = gpt_task(MUP)
    found = {
        scaled.name: (scaled.kind, scaled.lr_factor)
        for scaled in scaled_parameters(task, new_model(task, 128))
    }
    assert found["embed.weight"] == ("input", 1)
    assert found["qkv.weight"] == found["down.weight"] == ("hidden", 0.25)
    assert found["head.weight"] == ("output", 0.25)
    assert found["norm1.weight"] == found["qkv.bias"] == ("vector", 1)
    first = {
        s.name: s
        for s in scaled_parameters(
            mlp_task(model=Deep, recipe=MUP), new_model(mlp_task(model=Deep), 64)
        )
    }
    assert first["first.weight"].kind == "input"
    assert first["out.bias"].kind == "fixed"
    assert first["out.weight"].init_factor == pytest.approx(0.5**0.5)


def test_decay_per_step_does_not_depend_on_width():
    task = mlp_task(model=Deep, recipe=replace(MUP, weight_decay=0.1))
    spec = isoflop.plan(replace(task, sizes=[32, 64, 128]), budgets=[3e7]).specs[-1]
    optimizer = make_optimizer(task, spec.settings, new_model(task, 128))
    products = {
        group["lr"] * group["weight_decay"]
        for group in optimizer.param_groups
        if group["weight_decay"]
    }
    assert [pytest.approx(0.001)] == sorted({round(product, 12) for product in products})


def test_the_base_size_trains_as_without():
    plain, scaled = (
        mlp_task(model=Deep, recipe=recipe, sizes=[16, 32, 64]) for recipe in (STANDARD, MUP)
    )
    spec = next(spec for spec in isoflop.plan(plain, budgets=[3e6]).specs if spec.size == 32)
    first, second = (train_model(task, spec, isoflop.MemoryStore()) for task in (plain, scaled))
    assert first.loss == second.loss


def test_the_base_size_is_part_of_a_runs_identity():
    one, other = (
        isoflop.plan(mlp_task(model=Deep, recipe=recipe), budgets=[3e6]).specs[0].fingerprint
        for recipe in (STANDARD, MUP)
    )
    assert one != other


def test_sizes_that_change_the_depth_are_refused():
    def stack(depth):
        return nn.Sequential(
            nn.Linear(8, 16), *(nn.Linear(16, 16) for _ in range(depth)), nn.Linear(16, 4)
        )

    task = mlp_task(model=stack, size_param="depth", recipe=replace(MUP, mup_base=1))
    with pytest.raises(isoflop.ContractError, match="all sizes must have the same layers"):
        new_model(task, 3)
    with pytest.raises(isoflop.ContractError, match="at least 3 sizes"):
        isoflop.coordinate_check(task, [1, 2])
