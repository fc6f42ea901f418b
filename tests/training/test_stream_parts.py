"""Streams that divide: their parts take turns, the same for any number of workers and processes."""

import os
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import isoflop
from isoflop.training import streams
from isoflop.training.batches import training_batches
from isoflop.training.device_copies import NUM_AHEAD
from isoflop.training.places import Places
from isoflop.training.reading import close_workers
from isoflop.user_code.data import open_data
from tasks import examples, mlp_task

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

SIZES = [3, 11, 0, 26, 14]
"""Of the files of a stream, which are read as four parts; the last part has two of them."""
ALL = {(file, k) for file, size in enumerate(SIZES) for k in range(size)}
BATCHES_PER_PASS = 1 + 3 + 0 + 10


@pytest.fixture(autouse=True)
def all_places(monkeypatch):
    monkeypatch.setattr(streams, "COST_RATIO", 0)
    yield
    close_workers()


class Files(IterableDataset):
    """Numbered examples with noise, of several files; keeps its place, and counts what it reads.

    As those of Hugging Face, it splits its files among several workers if it sees any.
    """

    def __init__(self, files=(0, 1, 2, 3, 4), num_read=None):
        self.files = files
        self.num_read = (
            torch.zeros(1, dtype=torch.long).share_memory_() if num_read is None else num_read
        )
        self.first = self.number = 0

    @property
    def num_shards(self):
        return len(self.files)

    def shard(self, num_shards, index):
        first, last = (len(self.files) * k // num_shards for k in (index, index + 1))
        return type(self)(self.files[first:last], self.num_read)

    def __iter__(self):
        info = get_worker_info()
        files = self.files if info is None else self.files[info.id :: info.num_workers]
        items = [(file, k) for file in files for k in range(SIZES[file])]
        self.number = self.first
        for file, k in items[self.first :]:
            self.number += 1
            self.num_read += 1
            yield torch.tensor([file, k]), torch.randn(2), os.getpid()

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.first = state["number"]


def batches(data, first, num, places=None, share=(0, 1), epochs=None):
    source = open_data(data, "train_data")
    return list(islice(training_batches(source, 4, 1, first, epochs, share, places), num))


def same(one, other):
    return len(one) == len(other) and all(
        (x is y is None) or all(map(torch.equal, x[:2], y[:2]))
        for x, y in zip(one, other, strict=True)
    )


def test_every_pass_gives_every_example_once_and_parts_take_turns():
    found = batches(Files(), 0, 2 * BATCHES_PER_PASS)
    for one in (found[:BATCHES_PER_PASS], found[BATCHES_PER_PASS:]):
        seen = [tuple(row) for batch in one for row in batch[0].tolist()]
        assert len(seen) == len(set(seen))
        assert set(seen) == ALL
    assert [batch[0][0, 0].item() for batch in found[:6]] == [0, 1, 3, 1, 3, 1]
    assert not torch.equal(found[0][1], found[BATCHES_PER_PASS][1])


@pytest.mark.parametrize("share", [(0, 1), (1, 3)])
@pytest.mark.parametrize(("num_workers", "num_readers"), [(1, 1), (3, 2), (4, 4)])
def test_any_number_of_workers_gives_the_same_batches(num_workers, num_readers, share):
    alone = batches(Files(), 0, 40, share=share)
    for first in (0, 17):
        loader = DataLoader(Files(), num_workers=num_workers)
        found = batches(loader, first, 40 - first, share=share)
        assert same(found, alone[first:])
        readers = {process for batch in found if batch for process in batch[2].tolist()}
        # one of the four parts is empty
        assert len(readers) == min(num_readers, 3)
        assert os.getpid() not in readers


def stopped(data, num_trained, share=(0, 1)):
    """What a checkpoint holds after some steps, where the batches of more have been fetched."""
    places = Places(share[1])
    batches(data, 0, num_trained + NUM_AHEAD, places, share)
    return Places(share[1], places.kept(num_trained))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_goes_on_in_each_part_where_it_was(num_workers, capfd):
    stream = Files()
    data = DataLoader(stream, num_workers=num_workers)
    whole = batches(data, 0, 3 * BATCHES_PER_PASS)
    steps = range(1, 2 * BATCHES_PER_PASS) if num_workers == 0 else (9, 20)
    for step in steps:
        places = stopped(data, step)
        before = int(stream.num_read)
        assert same(batches(data, step, 6, places), whole[step : step + 6])
        if num_workers == 0:
            # the last batch of each part, and the new ones
            assert int(stream.num_read) - before <= (4 + 6) * 4
    assert capfd.readouterr().err == ""


def test_a_run_goes_on_on_another_number_of_processes_and_again(capfd):
    whole = batches(Files(), 0, 24)
    places = Places(1, stopped(Files(), 6, share=(0, 2)).resumed)
    batches(Files(), 6, 3, places)
    again = Places(1, places.kept(8))
    assert same(batches(Files(), 8, 16, again), whole[8:])
    assert capfd.readouterr().err == ""


def test_a_stream_that_ends_early_is_refused_when_all_parts_have_ended():
    assert len(batches(Files(), 0, BATCHES_PER_PASS, epochs=1)) == BATCHES_PER_PASS
    with pytest.raises(isoflop.DataError, match=r"ended after 1 pass of 14 batches.*Recipe\("):
        batches(Files(), 0, BATCHES_PER_PASS + 1, epochs=1)
    with pytest.raises(isoflop.DataError, match="pass 1 yielded none; give data"):
        batches(Files((2, 2)), 0, 1)


def hugging_face():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    stream = datasets.Dataset.from_dict({"x": range(53)}).to_iterable_dataset(num_shards=5)
    return stream.map(lambda row: {"x": row["x"], "y": row["x"] + 1}).with_format("torch")


@pytest.mark.parametrize("shuffles", [False, True])
def test_streams_of_hugging_face_are_divided_by_their_files(shuffles):
    stream = hugging_face()
    if shuffles:
        stream = stream.shuffle(seed=1, buffer_size=6)
    alone = [batch["x"].tolist() for batch in batches(stream, 0, 30)]
    in_workers = batches(DataLoader(stream, num_workers=4), 0, 30)
    assert [batch["x"].tolist() for batch in in_workers] == alone
    first_pass = [row for batch in alone for row in batch][:53]
    assert sorted(first_pass) == list(range(53))


def test_a_stream_that_skips_or_takes_is_read_whole():
    for stream in (hugging_face().skip(7), hugging_face().shuffle(seed=1).take(20)):
        assert open_data(stream, "train_data").num_parts == 1
    assert open_data(hugging_face(), "train_data").num_parts == 4
    (first,) = batches(hugging_face().skip(7), 0, 1)
    assert first["x"].tolist() == [7, 8, 9, 10]


class SplitOtherwise(Files):
    def shard(self, rank):
        raise AssertionError


def test_a_stream_with_another_kind_of_shards_is_read_whole():
    data = SplitOtherwise()
    assert open_data(data, "train_data").num_parts == 1
    assert len(batches(data, 0, 3)) == 3


class Labelled(Files):
    def __iter__(self):
        return iter(examples(400))


@pytest.mark.parametrize(("num_workers", "num_idle"), [(2, 0), (3, 1), (9, 5)])
def test_workers_without_a_part_are_noted_in_the_plan(num_workers, num_idle):
    loader = DataLoader(Labelled(), num_workers=num_workers)
    sweep = isoflop.plan(mlp_task(train_data=loader, sizes=[4, 8, 12]), budgets=[1e6])
    notes = [str(note) for note in sweep.notes if note.code == "stream-workers-idle"]
    assert len(notes) == (num_idle > 0)
    assert all(f"{num_idle} of its DataLoader's {num_workers} read nothing" in n for n in notes)
