"""What is counted as a token is told, or asked for where it cannot be known."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

import isoflop
from isoflop.counting.tokens import token_supply
from isoflop.user_code.loss import count_tokens, token_rule
from tasks import mlp_task

FLOATS, TABLE, CLASSES = (
    torch.zeros(3, 5),
    torch.zeros(3, 5, dtype=torch.long),
    torch.zeros(3, dtype=torch.long),
)


def step(model, batch):
    raise AssertionError


@pytest.mark.parametrize(
    ("batch", "rule"),
    [
        ((FLOATS, TABLE), "each target that is not -100"),
        ((FLOATS, TABLE, TABLE), "each target in the last part of a batch that is not -100"),
        ({"x": FLOATS, "labels": TABLE}, "each target in 'labels' that is not -100"),
        ((TABLE, FLOATS), "each example"),
        ({"ids": TABLE, "labels": FLOATS}, "each example"),
        ({"image": FLOATS, "kind": CLASSES}, "each example"),
        ([FLOATS], "each example"),
        (FLOATS, "each example"),
        ((FLOATS, {"kind": CLASSES, "box": FLOATS}), "each example"),
    ],
)
def test_what_a_token_is_can_be_told(batch, rule):
    assert token_rule(mlp_task(step=step), batch, "train_data") == rule


@pytest.mark.parametrize(
    ("batch", "described"),
    [
        ({"ids": TABLE, "masked_labels": TABLE}, "a mapping with 'ids' and 'masked_labels'"),
        ((TABLE, TABLE, FLOATS), "a tuple of Tensor, Tensor and Tensor"),
        ((FLOATS, {"masked": TABLE}), "a tuple of Tensor and dict"),
        ([TABLE], "a list of Tensor"),
        (TABLE, "a Tensor"),
    ],
)
def test_where_targets_cannot_be_told_a_count_is_asked_for(batch, described):
    with pytest.raises(isoflop.ContractError) as refusal:
        token_rule(mlp_task(step=step), batch, "val_data")
    assert str(refusal.value) == (
        f"The targets that the loss averages over are unknown in a batch of val_data, {described}; give "
        f"Task(count_tokens=), a function batch -> number of targets."
    )
    task = mlp_task(step=step, count_tokens=lambda batch: 3)
    assert token_rule(task, batch, "val_data") == "what count_tokens counts"


def test_a_plan_asks_before_anything_is_built():
    data = [{"ids": row, "masked_labels": row} for row in torch.zeros(40, 5, dtype=torch.long)]
    fields = {
        "step": step,
        "train_data": data,
        "val_data": data,
        "model": lambda width: step(None, None),
    }
    with pytest.raises(
        isoflop.ContractError, match=r"a batch of train_data, a mapping with 'ids'.*count_tokens="
    ):
        isoflop.plan(mlp_task(**fields), budgets=[1e6])


@pytest.mark.parametrize("wrong", [2.5, -1, float("nan"), None, "three", torch.tensor([1, 2])])
def test_a_count_of_tokens_that_cannot_be_is_refused(wrong):
    with pytest.raises(
        isoflop.ContractError, match="count_tokens must give a whole number of targets of a batch"
    ):
        count_tokens(mlp_task(count_tokens=lambda batch: wrong), (FLOATS, CLASSES))


@pytest.mark.parametrize("right", [7, 7.0, torch.tensor(7), torch.tensor([7.0])])
def test_a_count_of_tokens_may_be_any_whole_number(right):
    assert count_tokens(mlp_task(count_tokens=lambda batch: right), (FLOATS, CLASSES)) == 7


def sequences():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 20, (300,), generator=generator)
    return [torch.ones(int(length), dtype=torch.long) for length in lengths]


def padded_with(value):
    def collate(examples):
        return pad_sequence(examples, batch_first=True), pad_sequence(
            examples, batch_first=True, padding_value=value
        )

    return DataLoader(sequences(), collate_fn=collate)


def test_padding_that_is_counted_as_targets_is_refused():
    assert token_supply(mlp_task(train_data=padded_with(-100))).tokens_per_example == pytest.approx(
        10.5, rel=0.1
    )
    with pytest.raises(
        isoflop.ContractError, match=r"targets alone but .* in a batch of 8, so padding .* -100"
    ):
        token_supply(mlp_task(train_data=padded_with(0)))
    told = mlp_task(train_data=padded_with(0), count_tokens=lambda batch: batch[1].numel())
    with pytest.raises(isoflop.ContractError, match="let count_tokens leave it out"):
        token_supply(told)
    kept = mlp_task(
        train_data=padded_with(0), count_tokens=lambda batch: int((batch[1] != 0).sum())
    )
    assert token_supply(kept).tokens_per_example == pytest.approx(10.5, rel=0.1)


def test_the_plan_tells_what_a_token_is():
    class Autoencoder(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.into, self.out = nn.Linear(8, width), nn.Linear(width, 8)

    data = [(row,) for row in torch.randn(400, 8)]
    task = mlp_task(
        model=Autoencoder,
        step=lambda model, batch: (model.out(model.into(batch[0])) - batch[0]).square().mean(),
        train_data=data,
        val_data=data,
        unit="vector",
    )
    assert any(
        note.startswith("One vector is each example.")
        for note in isoflop.plan(task, budgets=[1e6]).notes
    )
