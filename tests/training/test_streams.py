"""Streams: resumed through their own state, or read again where that does not lead back."""

import importlib
import random
import re
import signal
import time
from functools import partial
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import isoflop
from isoflop.storage.directory import DirectoryStore
from isoflop.training import streams
from isoflop.training.batches import training_batches
from isoflop.training.checkpoint import load_checkpoint
from isoflop.training.device_copies import NUM_AHEAD
from isoflop.training.executors.work import TaskWork
from isoflop.training.loop import train_model
from isoflop.training.places import Places
from isoflop.training.reading import close_workers
from isoflop.user_code.data import open_data
from tasks import examples, mlp_task

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def no_worker_left():
    yield
    close_workers()


class Plain(IterableDataset):
    """Numbered examples with noise; counts those that are read, in whichever process."""

    size = 43

    def __init__(self):
        self.num_read = torch.zeros(1, dtype=torch.long).share_memory_()

    def __iter__(self):
        return self.items(0)

    def items(self, first):
        for number in range(first, self.size):
            self.num_read += 1
            yield torch.tensor([number, random.random()]), torch.randn(2)


class Resumable(Plain):
    """Keeps its place and, as Hugging Face's streams do, starts from a loaded one ever after."""

    first = number = 0

    def __iter__(self):
        self.number = self.first
        for item in self.items(self.first):
            self.number += 1
            yield item

    def state_dict(self):
        return {"number": np.array(self.number)}

    def load_state_dict(self, state):
        self.first = int(state["number"])


class Cursor:
    """An iterator that keeps its place."""

    def __init__(self, data):
        self.data, self.number, self.items = data, 0, data.items(0)

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        self.number += 1
        return item

    def state_dict(self):
        return [self.number, (torch.tensor(1.0), None)]

    def load_state_dict(self, state):
        self.number = state[0]
        self.items = self.data.items(self.number)


class WithCursor(Plain):
    def __iter__(self):
        return Cursor(self)


class Buffered(Resumable):
    """Shuffles in a buffer, which its state leaves out."""

    def items(self, first):
        buffer = []
        for item in super().items(first):
            buffer.append(item)
            if len(buffer) == 8:
                yield buffer.pop(random.randrange(8))
        yield from buffer


class Wrapped(Plain):
    """Takes its examples and its place from a stream inside, which it holds in two ways."""

    def __init__(self, inner=Resumable):
        self.inner = inner()
        self.by_name = {"all": [self.inner]}
        self.num_read = self.inner.num_read

    def __iter__(self):
        return iter(self.by_name["all"][0])

    def state_dict(self):
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state):
        self.inner.load_state_dict(state["inner"])


class Held(Plain):
    """A stream without a place of its own inside one with a place."""

    def __init__(self):
        self.inner = Resumable()
        self.num_read = self.inner.num_read

    def __iter__(self):
        yield from self.inner


class TwiceWrapped(Wrapped):
    def __init__(self):
        super().__init__()
        self.held = Held()
        self.inner = self.held.inner
        self.num_read = self.held.num_read

    def __iter__(self):
        return iter(self.held)


class Unkeepable(Resumable):
    def state_dict(self):
        return {"number": self.number, "items": iter(())}


class Unreadable(Resumable):
    def state_dict(self):
        return {"seen": 1 << 3000}


class Broken(Resumable):
    def load_state_dict(self, state):
        raise OSError("no such shard")


WAYS = {
    "itself": lambda data: data,
    "a loader": lambda data: DataLoader(data, batch_size=3),
    "a worker": lambda data: DataLoader(data, num_workers=1),
    "batches": lambda data: DataLoader(data, batch_size=None),
    "batches of a worker": lambda data: DataLoader(data, batch_size=None, num_workers=1),
}


def batches(data, first, num, places=None, share=(0, 1)):
    source = open_data(data, "train_data")
    return list(islice(training_batches(source, 5, 1, first, None, share, places), num))


def stopped(data, num_trained, share=(0, 1)):
    """What a checkpoint holds after some steps, where the batches of more have been fetched."""
    places = Places(num_ranks=share[1])
    batches(data, 0, num_trained + NUM_AHEAD, places, share)
    return Places(share[1], places.kept(num_trained))


def reads(stream, action):
    """What an action gives, and the examples that it reads."""
    before = int(stream.num_read)
    result = action()
    close_workers()
    return result, int(stream.num_read) - before


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.fixture
def all_places(monkeypatch):
    monkeypatch.setattr(streams, "COST_RATIO", 0)


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Resumable, WithCursor, Wrapped, TwiceWrapped])
def test_a_resumed_stream_goes_on_where_it_was_without_reading_what_it_skips(kind, way, capfd):
    is_single = way.startswith("batches")
    size = 1 if is_single else 5
    stream = kind()
    data = WAYS[way](stream)
    whole = batches(data, 0, 100)
    # in the second pass; at the end of a pass of items; at the start
    for num_trained in (12, 43, 1):
        places = stopped(data, num_trained)
        rest, num_read = reads(stream, partial(batches, data, num_trained, 3, places))
        assert same(rest, whole[num_trained : num_trained + 3])
        if "worker" not in way:  # which reads further ahead
            assert num_read == (1 + 3) * size
        assert num_read < 12 * size
    # later passes begin at the start, and so do other readings
    assert same(batches(data, 1, 99, stopped(data, 1)), whole[1:])
    assert same(batches(data, 0, 100), whole)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize(
    ("before", "after"), [((0, 1), (1, 2)), ((0, 2), (0, 1)), ((0, 2), (1, 3))]
)
def test_a_stream_goes_on_on_another_number_of_processes(before, after, capfd):
    stream = Resumable()
    places = stopped(stream, 6, before)
    rest, num_read = reads(stream, lambda: batches(stream, 6, 4, places, after))
    assert same(rest, batches(stream, 0, 10, share=after)[6:])
    assert num_read == 25
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("all_places")
def test_a_stream_without_a_state_is_read_from_the_start_of_its_pass(capfd):
    stream = Plain()
    whole = batches(stream, 0, 40)
    places = stopped(stream, 30)
    rest, num_read = reads(stream, lambda: batches(stream, 30, 3, places))
    assert same(rest, whole[30:33])
    assert num_read == 33 * 5 - 3 * 43  # three passes are left out
    assert capfd.readouterr().err == ""


class WrappedBuffered(Wrapped):
    def __init__(self):
        super().__init__(Buffered)


LED_ELSEWHERE = "The state of train_data led to other examples, so the resumed run reads from its"
CAUSES = {
    Buffered: LED_ELSEWHERE,
    WrappedBuffered: LED_ELSEWHERE,
    Broken: r"The state of train_data raised OSError \(no such shard\), so the resumed run reads",
    Unreadable: r"cannot be kept in checkpoints \(it holds an integer of 3,001 bits\), so a resumed",
    Unkeepable: r"cannot be kept in checkpoints \(it holds a tuple_iterator\), so a resumed run",
}


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize("kind", CAUSES)
@pytest.mark.parametrize("way", ["itself", "a worker"])
def test_a_state_that_does_not_lead_back_costs_time_and_a_line_but_no_change(kind, way, capfd):
    data = WAYS[way](kind())
    whole = batches(data, 0, 30)
    assert same(batches(data, 21, 9, stopped(data, 21)), whole[21:])
    (line,) = set(capfd.readouterr().err.splitlines())
    assert re.search(CAUSES[kind], line)


def test_places_take_little_of_the_time(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0])
    monkeypatch.setattr(streams, "time", clock)

    class Slow(Resumable):
        num_states = 0

        def items(self, first):
            for item in super().items(first):
                now[0] += 0.2
                yield item

        def state_dict(self):
            now[0] += 1
            self.num_states += 1
            return super().state_dict()

    stream = Slow()
    whole = batches(stream, 0, 160)
    assert stream.num_states == 4  # 4 s of 164
    assert same(batches(stream, 30, 3, stopped(stream, 30)), whole[30:33])


class Examples(Resumable):
    size = 4000

    def items(self, first):
        for k in range(first, self.size):
            self.num_read += 1
            yield DATA[k]


DATA = examples(4000)


def stop_at(step, task, spec, store):
    """Train a run until it is asked to stop at a step, and saves."""
    steps = iter(range(1000))
    with pytest.raises(KeyboardInterrupt):
        train_model(
            task,
            spec,
            store,
            stop_requested=lambda: signal.SIGINT if next(steps) == step else None,
        )


@pytest.mark.usefixtures("all_places")
def test_a_stopped_run_resumes_bit_for_bit_from_the_place_in_its_checkpoint(tmp_path, capfd):
    stream = Examples()
    task = mlp_task(train_data=stream, sizes=[4, 8, 12])
    spec = isoflop.plan(task, budgets=[1e6]).specs[0]
    whole = train_model(task, spec, isoflop.MemoryStore())
    store = DirectoryStore(tmp_path)
    store.write_spec(spec)
    stop_at(spec.num_steps - 4, task, spec, store)
    (place,) = load_checkpoint(store.checkpoint(spec.id))["place"]["parts"]
    assert (place["step"], place["num_trained"]) == (spec.num_steps - 4, spec.num_steps - 3)
    resumed, num_read = reads(stream, lambda: train_model(task, spec, store))
    assert (resumed.loss, resumed.curve) == (whole.loss, whole.curve)
    assert num_read == 4 * spec.batch
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_reading_that_says_that_it_skips_gives_the_same_batches(way, monkeypatch):
    monkeypatch.setattr(streams, "SKIP_SECONDS", 0.0)  # at every step
    data = WAYS[way](Plain())
    whole = batches(data, 0, 60)
    close_workers()
    for places in (None, stopped(data, 50)):
        assert same(batches(data, 50, 10, places), whole[50:])


class Slow(Plain):
    """Takes a while for some examples, from the second reading on."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.num_readings = torch.zeros(1, dtype=torch.long).share_memory_()

    def items(self, first):
        self.num_readings += 1
        for k in range(2 * len(DATA)):  # one pass is enough for a run
            if self.num_readings > 1 and k % 40 == 0:
                time.sleep(self.seconds)
            yield DATA[k % len(DATA)]


class SlowSampler:
    """Indices that take a while as the examples of such a stream."""

    def __init__(self, seconds):
        self.stream = Slow(seconds)

    def __iter__(self):
        return (k % len(DATA) for k, _ in enumerate(self.stream))

    def __len__(self):
        return 2 * len(DATA)


SLOW = {
    "a stream": lambda seconds: DataLoader(Slow(seconds)),
    "a worker": lambda seconds: DataLoader(Slow(seconds), num_workers=1),
    "a sampler": lambda seconds: DataLoader(DATA, sampler=SlowSampler(seconds)),
}


@pytest.mark.parametrize("way", SLOW)
def test_a_run_that_skips_for_longer_than_a_step_may_take_does_not_hang(way, monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "SKIP_SECONDS", 0.05)
    spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6]).specs[0]
    skipped = (spec.num_steps - 2) * spec.batch
    task = mlp_task(train_data=SLOW[way](40 * 1.5 / skipped))
    store = DirectoryStore(tmp_path)
    stop_at(spec.num_steps - 3, task, spec, store)
    began = time.monotonic()
    run = TaskWork(task, store, hang_seconds=0.5)(spec)
    assert run.status == "completed", run.error
    assert time.monotonic() - began > 1  # so that it would have been ended


@pytest.mark.usefixtures("all_places")
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("shuffles", [False, True])
def test_streams_of_hugging_face_resume(shuffles, num_workers, capfd):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    stream = datasets.Dataset.from_dict({"x": range(50)}).to_iterable_dataset(num_shards=4)
    stream = stream.map(lambda row: {"y": row["x"] + 1}).with_format("torch")
    if shuffles:
        stream = stream.shuffle(seed=1, buffer_size=20)
    data = DataLoader(stream, num_workers=num_workers)

    def rows(found):
        return [batch["y"].tolist() for batch in found]

    whole = rows(batches(data, 0, 30))
    for num_trained in (7, 14):
        places = stopped(data, num_trained)
        assert rows(batches(data, num_trained, 9, places)) == whole[num_trained:][:9]
    said = capfd.readouterr().err
    assert ("led to other examples" in said) == shuffles


def test_a_stream_that_is_split_among_processes_is_refused():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    stream = datasets.Dataset.from_dict({"x": range(8)}).to_iterable_dataset(num_shards=2)
    split = importlib.import_module("datasets.distributed").split_dataset_by_node(stream, 0, 2)
    for data in (split, DataLoader(split)):
        with pytest.raises(isoflop.ContractError, match="split by split_dataset_by_node; leave"):
            open_data(data, "train_data")
