from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

import isoflop
from isoflop.training.batches import held_out_batches, training_batches
from isoflop.user_code.data import first_batch, num_examples_in, open_data
from isoflop.user_code.randomness import seeded
from tasks import examples, mlp_task


class Stream(IterableDataset):
    def __init__(self, items, length=None):
        self.items, self.length = items, length

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        if self.length is None:
            raise TypeError("of unknown length")
        return self.length


class Buckets:
    """A batch sampler of the user's own."""

    def __init__(self, size=16, number=20):
        self.size, self.number = size, number

    def __iter__(self):
        order = torch.randperm(self.number).tolist()
        return ([k * self.size + n for n in range(self.size)] for k in order)

    def __len__(self):
        return self.number


DATA = examples(320)


def whole_batches(size=16):
    return [default_collate([DATA[k + n] for n in range(size)]) for k in range(0, 320, size)]


LOADERS = {
    "a stream": (DataLoader(Stream(DATA), batch_size=8), "stream", None),
    "a stream of known length": (DataLoader(Stream(DATA, 320), batch_size=8), "stream", 320),
    "a stream of batches": (DataLoader(Stream(whole_batches()), batch_size=None), "batches", None),
    "a data set of batches": (DataLoader(whole_batches(), batch_size=None), "batches", None),
    "shuffled batches": (
        DataLoader(whole_batches(), batch_size=None, shuffle=True),
        "batches",
        None,
    ),
    "a batch sampler": (DataLoader(DATA, batch_sampler=Buckets()), "batches", None),
    "plain batches": (
        DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA), 8, False)),
        "examples",
        320,
    ),
    "a sampler": (
        DataLoader(DATA, batch_size=8, sampler=SubsetRandomSampler(range(100))),
        "stream",
        100,
    ),
    "weights": (
        DataLoader(DATA, batch_size=8, sampler=WeightedRandomSampler([1.0] * 320, 50)),
        "stream",
        50,
    ),
    "a sampler in batches": (
        DataLoader(DATA, batch_sampler=BatchSampler(SubsetRandomSampler(range(9)), 4, False)),
        "stream",
        9,
    ),
    "an order": (
        DataLoader(DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), 8, False)),
        "examples",
        320,
    ),
}


@pytest.mark.parametrize("name", LOADERS)
def test_what_pytorch_loads_is_taken(name):
    loader, kind, num_examples = LOADERS[name]
    source = open_data(loader, "train_data")
    assert (source.kind, source.num_examples) == (kind, num_examples)
    batch = first_batch(source, 2)
    assert num_examples_in(batch) == (16 if kind == "batches" else 2)
    assert batch[0].shape[1:] == (8,)


@pytest.mark.parametrize("name", ["a stream", "shuffled batches", "a batch sampler", "weights"])
def test_a_loaders_own_order_is_a_function_of_seed_and_step(name):
    source = open_data(LOADERS[name][0], "train_data")

    def steps(first, last, seed=0):
        return [
            batch[0]
            for batch in islice(training_batches(source, 4, seed, first, None), last - first)
        ]

    with seeded(0):
        whole = steps(0, 30)
        torch.rand(3)
        resumed = steps(25, 30)
    assert all(torch.equal(one, other) for one, other in zip(whole[25:], resumed, strict=True))


@pytest.mark.parametrize("name", ["shuffled batches", "a batch sampler", "weights"])
def test_the_held_out_set_of_a_loader_with_an_order_of_its_own_is_the_same_for_every_run(name):
    source = open_data(LOADERS[name][0], "val_data")
    with seeded(0):
        first = [each.batch[0] for each in held_out_batches(source, 40, 4, 0)]
        torch.rand(3)  # what a run has drawn before
        second = [each.batch[0] for each in held_out_batches(source, 40, 4, 0)]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "name", ["a stream", "a data set of batches", "a batch sampler", "weights"]
)
def test_a_run_trains_on_what_a_loader_gives(name):
    task = mlp_task(train_data=LOADERS[name][0], sizes=[2, 4, 6])
    sweep = isoflop.plan(task, budgets=[3e5], check_rates=None)
    runs = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    assert {run.status for run in runs} == {"completed"}


class Ragged(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return torch.ones(4 + index % 3, dtype=torch.long), index % 4


class Lists(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"x": [0.1] * 8, "labels": index % 4}


class Doubles(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return np.random.RandomState(index).randn(8), index % 4


def refusal(**changes):
    with pytest.raises(isoflop.ContractError) as caught:
        isoflop.plan(mlp_task(**changes), budgets=[1e6])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_examples_of_several_shapes_are_refused_with_the_loader_that_pads_them():
    message = refusal(train_data=Ragged())
    assert "2 examples do not make a batch (stack expects" in message
    assert "a DataLoader whose collate_fn pads them" in message


@pytest.mark.parametrize("sizes", [None, [4, 8]])
def test_examples_of_double_precision_are_refused_with_the_conversion(sizes):
    message = refusal(train_data=Doubles(), val_data=Doubles(), sizes=sizes)
    assert "float64" in message
    assert "make them float32" in message


def test_examples_of_python_lists_are_refused_with_the_format_of_hugging_face():
    assert "with_format('torch')" in refusal(train_data=Lists(), loss=None)


@pytest.mark.parametrize("sizes", [None, [4, 8]])
def test_a_list_of_batches_is_refused_with_the_callable_that_works(sizes):
    batches = [(x, y) for x, y in whole_batches()]
    assert "lambda seed: batches" in refusal(train_data=batches, val_data=batches, sizes=sizes)


@pytest.mark.parametrize("sizes", [None, [4, 8]])
def test_a_plain_model_without_a_loss_is_refused_with_how_it_would_be_called(sizes):
    message = refusal(loss=None, sizes=sizes)
    assert "With loss=None the model is called as model(inputs, targets)" in message


def test_a_model_that_returns_no_loss_is_refused_with_the_missing_labels():
    class Labelled(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.out = torch.nn.Linear(8, width)

        def forward(self, x, labels=None):
            logits = self.out(x)
            return {"loss": None if labels is None else logits.mean(), "logits": logits}

    data = [{"x": x} for x, _ in examples(50)]
    assert "hold no labels" in refusal(model=Labelled, loss=None, train_data=data, val_data=data)


def test_a_loss_below_zero_is_refused_as_no_law_could_be_fitted_to_it():
    def likelihood(outputs, targets):
        return -torch.nn.functional.cross_entropy(outputs, targets)

    assert "must be above 0" in refusal(loss=likelihood)


def hugging_face():
    datasets = pytest.importorskip("datasets")
    columns = {"x": [x.tolist() for x, _ in DATA], "labels": [int(y) for _, y in DATA]}
    return datasets.Dataset.from_dict(columns)


class Own(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(8, width), torch.nn.ReLU(), torch.nn.Linear(width, 4)
        )

    def forward(self, x, labels):
        return {"loss": torch.nn.functional.cross_entropy(self.body(x), labels)}


def test_a_data_set_of_hugging_face_is_refused_without_its_torch_format_and_taken_with_it():
    rows = hugging_face()
    message = refusal(model=Own, loss=None, train_data=rows, val_data=rows)
    assert "with_format('torch')" in message
    tensors = rows.with_format("torch")
    isoflop.plan(
        mlp_task(model=Own, loss=None, train_data=tensors, val_data=tensors), budgets=[1e6]
    )


def test_a_streaming_data_set_of_hugging_face_is_taken():
    stream = hugging_face().to_iterable_dataset().shuffle(seed=0, buffer_size=20)
    assert "with_format('torch')" in refusal(model=Own, loss=None, train_data=stream)
    tensors = stream.with_format("torch")
    task = mlp_task(
        model=Own, loss=None, train_data=tensors, val_data=hugging_face().with_format("torch")
    )
    assert open_data(tensors, "train_data").kind == "stream"
    isoflop.plan(task, budgets=[1e6])
    loader = DataLoader(tensors, batch_size=4)
    isoflop.plan(mlp_task(model=Own, loss=None, train_data=loader, val_data=loader), budgets=[1e6])
