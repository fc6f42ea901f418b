import os
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import isoflop
from isoflop.training.batches import held_out_batches, training_batches
from isoflop.training.order import epoch_and_index
from isoflop.user_code.data import open_data
from isoflop.user_code.randomness import seeded
from tasks import examples


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000, 4097])
def test_an_epoch_sees_every_example_once(size):
    for epoch in (0, 1):
        epochs, indices = epoch_and_index(3, np.arange(epoch * size, (epoch + 1) * size), size)
        assert sorted(indices.tolist()) == list(range(size))
        assert set(epochs.tolist()) == {epoch}


def test_epochs_and_seeds_have_different_orders():
    orders = [
        tuple(epoch_and_index(seed, np.arange(start, start + 100), 1000)[1].tolist())
        for seed, start in ((0, 0), (0, 1000), (1, 0))
    ]
    assert len(set(orders)) == 3


def test_the_order_looks_random():
    _, indices = epoch_and_index(0, np.arange(100_000), 100_000)
    neighbours = np.corrcoef(indices[:-1], indices[1:])[0, 1]
    with_place = np.corrcoef(indices, np.arange(100_000))[0, 1]
    assert abs(neighbours) < 0.02
    assert abs(with_place) < 0.02


def test_places_beyond_memory_need_no_memory():
    _, indices = epoch_and_index(0, np.array([0, 10**12]), 10**13)
    assert all(0 <= index < 10**13 for index in indices.tolist())


@pytest.mark.parametrize("kind", ["examples", "stream", "batches"])
def test_a_batch_is_the_same_from_whichever_step_one_starts(kind):
    data = {"examples": examples(50), "stream": Endless(50), "batches": batches_of(50)}[kind]
    source = open_data(data, "train_data")
    whole = take(training_batches(source, 4, 9, 0, None), 30)
    later = take(training_batches(source, 4, 9, 17, None), 13)
    for one, other in zip(whole[17:], later, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


class Endless:
    """A stream of examples that augments them with random numbers."""

    def __init__(self, size):
        self.data = examples(size)

    def __iter__(self):
        return ((x + torch.randn(8), y) for x, y in self.data)


def batches_of(size):
    def batches(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(size):
            yield torch.randn(4, 8, generator=generator), torch.zeros(4, dtype=torch.long)

    return batches


class Augmented(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.randn(3) + np.random.normal(), index  # noqa: NPY002


def test_augmentation_depends_on_seed_example_and_epoch_alone():
    source = open_data(Augmented(), "train_data")
    whole = take(training_batches(source, 5, 1, 0, None), 8)
    torch.randn(3)
    later = take(training_batches(source, 5, 1, 6, None), 2)
    assert torch.equal(torch.stack([b[0] for b in whole[6:]]), torch.stack([b[0] for b in later]))
    by_example = {
        int(i): x for inputs, indices in whole[:4] for x, i in zip(inputs, indices, strict=True)
    }
    second = {
        int(i): x for inputs, indices in whole[4:] for x, i in zip(inputs, indices, strict=True)
    }
    assert by_example.keys() == second.keys() == set(range(20))
    assert not any(torch.equal(by_example[i], second[i]) for i in range(20))


def test_a_stream_that_ends_early_is_refused_with_the_remedy():
    source = open_data(Endless(10), "train_data")
    with pytest.raises(isoflop.DataError, match="ended after 1 pass of 10 items.*Recipe"):
        take(training_batches(source, 4, 0, 0, 1), 5)


def test_the_held_out_set_is_fixed_spread_and_never_padded():
    source = open_data(list(zip(range(1000), range(1000), strict=True)), "val_data")
    batches = [each.batch for each in held_out_batches(source, 100, 9, 0)]
    seen = torch.cat([inputs for inputs, _ in batches]).tolist()
    assert len(seen) == len(set(seen)) == 100
    assert (min(seen), max(seen)) == (0, 999)


HELD_OUT = {
    "examples": (lambda: Seen(60), 20),
    "stream": (lambda: Streamed(Seen(60)), 60),
    "batches": (lambda: lambda seed: DataLoader(Seen(60), batch_size=3), 60),
}


class Seen(Dataset):
    """Examples that draw random numbers, and those that were read."""

    read: ClassVar[list[int]] = []

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        return torch.randn(2), index


class Streamed:
    """The same examples as a stream."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return (self.data[k] for k in range(len(self.data)))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", HELD_OUT)
def test_processes_share_the_held_out_batches_and_read_their_own(kind, together):
    make, num_read = HELD_OUT[kind]
    source = open_data(make(), "val_data")
    whole = list(held_out_batches(source, 60, 20, 7))
    assert [(each.number, each.is_own) for each in whole] == [(k, True) for k in range(20)]
    own = {}
    for rank in range(3):
        Seen.read.clear()
        for each in held_out_batches(source, 60, 20, 7, (rank, 3), together=together):
            assert all(map(torch.equal, each.batch, whole[each.number].batch))
            own.setdefault(each.is_own, []).append(each.number)
        assert len(Seen.read) <= num_read + 3
    assert sorted(own[True]) == list(range(20))
    assert own.get(False, []) == ([18] if together else [])


def test_a_small_held_out_set_is_used_whole():
    source = open_data(list(zip(range(7), range(7), strict=True)), "val_data")
    assert sum(len(each.batch[0]) for each in held_out_batches(source, 100, 64, 0)) == 7


@pytest.mark.parametrize("share", [(0, 1), (1, 2), (5, 7)])
def test_many_steps_permuted_at_once_are_those_permuted_one_by_one(share):
    data = open_data(list(range(1000)), "train_data")
    batches = training_batches(data, 6, 3, 11, None, share)
    first, last = 6 * share[0] // share[1], 6 * (share[0] + 1) // share[1]
    for step in range(11, 1500):
        expected = epoch_and_index(3, np.arange(step * 6 + first, step * 6 + last), 1000)[
            1
        ].tolist()
        batch = next(batches)
        assert (batch.tolist() if batch is not None else []) == expected


class Noisy(torch.utils.data.Dataset):
    """Examples that draw random numbers, and a note of who read them."""

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return torch.randn(2), index, os.getpid()


def test_a_loaders_workers_read_the_batches_that_one_process_would():
    own = DataLoader(Noisy(), batch_size=4)
    read = DataLoader(Noisy(), batch_size=4, num_workers=1)

    def batches(loader):
        source = open_data(loader, "train_data")
        trained = list(islice(training_batches(source, 5, 3, 2, None), 20))
        return [*trained, *(each.batch for each in held_out_batches(source, 30, 4, 0))]

    with seeded(0):
        alone, in_workers = batches(own), batches(read)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(alone, in_workers, strict=True))
    assert all(torch.equal(one[1], other[1]) for one, other in zip(alone, in_workers, strict=True))
    readers = {process for batch in in_workers for process in batch[2].tolist()}
    assert os.getpid() not in readers
