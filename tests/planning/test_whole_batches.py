"""FLOPs of data whose examples differ in length: those of whole padded batches, whatever the order of the data."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

import isoflop
from isoflop.counting import trials
from isoflop.counting.batch_cost import exact_terms, fitted_cost, reading_of
from isoflop.counting.counting import BatchCounter, count_size, flops_per_token_at
from isoflop.counting.flops import count_step
from isoflop.counting.tokens import token_supply
from isoflop.user_code.data import dimensions
from tasks import MLP, mlp_task

VOCABULARY, SHORTEST, LONGEST = 8, 4, 32


class Attention(nn.Module):
    """A layer of self-attention and one that is not."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY)
        self.qkv = nn.Linear(width, 3 * width)
        self.seen = []

    def forward(self, tokens):
        if self.training and not tokens.is_meta:
            self.seen.append(tuple(tokens.shape))
        q, k, v = self.qkv(self.embed(tokens)).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(q, k, v))


def flops_of(num_examples, length, width):
    """Forward and backward: every position is computed, and the square of positions twice in attention."""
    weights = 3 * width**2 + VOCABULARY * width
    return num_examples * (6 * length * weights + 12 * length**2 * width)


@cache
def sequences(number=1500, order=None):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (number,), generator=generator).tolist()
    lengths = lengths if order is None else sorted(lengths, reverse=order == "long first")
    return [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]


def padded(examples):
    inputs = pad_sequence(examples, batch_first=True)
    return inputs, pad_sequence(examples, batch_first=True, padding_value=-100)


def token_loss(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=-100)


def padded_task(order=None, collate=padded, **changes):
    data = DataLoader(sequences(order=order), collate_fn=collate)
    fields = {"model": Attention, "train_data": data, "val_data": data, "loss": token_loss}
    return mlp_task(**{**fields, **changes})


def drawn_per_token(batch, width, number=2000):
    """FLOPs of many batches that are drawn at random over their tokens."""
    lengths = np.array([len(one) for one in sequences()])
    drawn = np.random.default_rng(1).choice(lengths, (number, batch))
    return sum(flops_of(batch, int(row.max()), width) for row in drawn) / drawn.sum()


@pytest.mark.parametrize("order", [None, "short first", "long first"])
def test_flops_per_token_are_those_of_padded_batches_whatever_the_order_of_the_data(order):
    task = padded_task(order)
    for batch in (2, 7, 40):
        found = flops_per_token_at(task, count_size(task, 8), batch)
        assert found == pytest.approx(drawn_per_token(batch, 8), rel=0.03)


def test_the_runs_of_a_plan_cost_their_budget_in_the_batches_that_they_are_trained_in():
    sweep = isoflop.plan(padded_task(), budgets=[3e8])
    assert len({spec.batch for spec in sweep.specs}) > 1
    for spec in sweep.specs:
        per_token = drawn_per_token(spec.batch, spec.size, number=500)
        assert spec.flops_per_token == pytest.approx(per_token, rel=0.04)
        assert spec.flops == pytest.approx(3e8, rel=0.1)


def test_a_run_records_the_flops_of_what_it_processed():
    sweep = isoflop.plan(padded_task(sizes=[4, 8, 12], fingerprint="same"), budgets=[3e7])
    spec = sweep.specs[1]
    kept = []

    def remembered(width):
        kept.append(Attention(width))
        return kept[-1]

    task = padded_task(model=remembered, sizes=[4, 8, 12], fingerprint="same")
    (run,) = isoflop.train(
        task, dataclasses.replace(sweep, specs=(spec,)), store=isoflop.MemoryStore(), progress=False
    )
    trained = next(model for model in kept if len(model.seen) > 5)
    assert run.flops == sum(flops_of(*shape, spec.size) for shape in trained.seen)
    assert run.flops == pytest.approx(spec.flops, rel=0.15)


def test_the_plan_says_what_a_token_is_and_which_batches_were_counted():
    told = " ".join(isoflop.plan(padded_task(unit="base", sizes=[4, 8, 16]), budgets=[3e8]).notes)
    assert "One base is each target that is not -100: an example has 18" in told
    assert (
        "whole batches, padding included, as 1024 sampled examples make them (standard error 0."
        in told
    )
    assert "times as much in batches of" in told
    same = " ".join(isoflop.plan(mlp_task(), budgets=[1e6]).notes)
    assert "One token is each target that is not -100: an example has 1." in same
    assert "the one shape that all 256 sampled examples have" in same


def test_examples_of_one_shape_are_counted_once_at_each_size(monkeypatch):
    counted = []

    def remembered(model, loss_of_batch, **options):
        counted.append(model.hidden.out_features)
        return count_step(model, loss_of_batch, **options)

    monkeypatch.setattr(trials, "count_step", remembered)
    isoflop.plan(dataclasses.replace(mlp_task()), budgets=[1e6, 1e7])  # a task not counted yet
    assert sorted(counted) == sorted(
        [1, *set(counted)]
    )  # the smallest twice, to see what more examples cost


def test_a_loss_that_compares_all_examples_grows_with_the_square_of_the_batch():
    def contrastive(outputs, targets):
        return F.cross_entropy(
            outputs @ outputs.T, torch.arange(len(outputs), device=outputs.device)
        )

    task = mlp_task(loss=contrastive)
    spec = next(spec for spec in isoflop.plan(task, budgets=[1e7]).specs if spec.batch > 8)
    expected = 4 * 8 * spec.size + 6 * 4 * spec.size + 2 * 3 * 4 * spec.batch
    assert spec.flops_per_token == expected


def test_batches_of_the_datas_own_are_counted_on_many_of_them():
    def batches(seed):
        generator = torch.Generator().manual_seed(seed)
        data = sequences()
        while True:
            length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=generator))
            yield padded([one for one in data if len(one) == length][:4])

    task = padded_task()
    task = dataclasses.replace(task, train_data=batches)
    counted = count_size(task, 8)
    assert token_supply(task).fixed_batch == 4
    lengths = np.arange(SHORTEST, LONGEST + 1)
    expected = sum(flops_of(1, int(length), 8) for length in lengths) / lengths.sum()
    assert counted.flops_per_token == pytest.approx(expected, rel=0.03)


def test_batches_like_none_in_the_sample_are_counted_as_they_come():
    task = padded_task(train_data=[(torch.zeros(5, dtype=torch.long),) * 2] * 300, sizes=[8])
    counter = BatchCounter(task, 8, 1.0)
    for num_examples, length in ((2, 5), (7, 5), (3, 30), (2, 9), (3, 30)):
        batch = (torch.zeros(num_examples, length, dtype=torch.long),) * 2
        assert counter.flops(batch, 1) == flops_of(num_examples, length, 8)


def test_data_whose_examples_make_no_batch_are_refused():
    data = [(one, one) for one in sequences(300)]
    with pytest.raises(isoflop.ContractError, match=r"examples do not make a batch \(.*collate_fn"):
        isoflop.plan(padded_task(train_data=data, val_data=data), budgets=[1e6])


def test_the_terms_of_two_lengths_are_found_and_no_others():
    generator = np.random.default_rng(0)
    variables = generator.integers(2, 60, (18, 3)).astype(float)
    B, S, T = variables.T
    terms = exact_terms(variables, 6 * B * S + 12 * B * S * T + B * T**2)
    assert set(terms.powers) == {(1, 1, 0), (1, 1, 1), (1, 0, 2)}
    rows = terms.informative(variables)
    assert len(rows) == 3
    flops = 100 * B * S + 30 * B * S * T + 7 * B * T**2
    cost = fitted_cost(reading_of([torch.zeros(2, 3)]), terms, variables[rows], flops[rows])
    assert cost.error == 0
    np.testing.assert_array_equal(cost.of(variables), flops)


def test_what_is_no_polynomial_is_approached_and_says_how_well():
    variables = np.stack([np.resize([2.0, 3, 4, 5], 13), np.linspace(4, 60, 13).round()], axis=1)
    B, L = variables.T
    flops = B * 64 * np.ceil(L / 8)  # lengths are padded to multiples
    terms = exact_terms(variables, flops)
    assert 0.01 < terms.error < 0.5
    cost = fitted_cost(reading_of([torch.zeros(2, 3)]), terms, variables, flops)
    assert cost.error == pytest.approx(terms.error, rel=0.01)


def test_batches_of_differing_numbers_of_tensors_are_read_by_their_elements():
    batches = [[torch.zeros(3, 2)] * 2, [torch.zeros(3, 2)] * 3]
    assert [len(dimensions(batch)) for batch in batches] == [5, 7]
    reading = reading_of(batches)
    assert [reading(batch) for batch in batches] == [(3.0, 12.0), (3.0, 18.0)]


def test_a_plan_of_one_shape_is_as_before_the_sample():
    width = 5
    counted = count_size(mlp_task(model=MLP), width)
    assert {flops_per_token_at(mlp_task(), counted, batch) for batch in (1, 2, 9, 1000)} == {
        counted.flops_per_token
    }
