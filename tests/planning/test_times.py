"""The predicted time of runs: its parts, what reading data adds, and what a plan says of it."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

import isoflop
from isoflop.counting.reading_speed import (
    MOST_PROBED,
    TRANSFER_SECONDS,
    ReadingSpeed,
    measure_reading,
)
from isoflop.counting.run_seconds import RunSeconds, what_binds
from isoflop.counting.speed import EvaluationSpeed, Rate, Speed, measure_speed
from isoflop.planning.times import goes_to, time_notes
from isoflop.user_code.data import open_data
from tasks import examples, mlp_task

DATA = examples(4000)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now, self.busy = 0.0, 0.0

    def passes(self, seconds, busy=0.0):
        self.now += seconds
        self.busy += busy


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    fake = SimpleNamespace(perf_counter=lambda: made.now, thread_time=lambda: made.busy)
    monkeypatch.setattr("isoflop.counting.reading_speed.time", fake)
    return made


class Slow(Dataset):
    """Examples that take a while by the clock, of which `busy` is work."""

    def __init__(self, clock, seconds, busy=0.0):
        self.clock, self.seconds, self.busy, self.num_read = clock, seconds, busy, 0

    def __len__(self):
        return len(DATA)

    def __getitem__(self, index):
        self.num_read += 1
        self.clock.passes(self.seconds, self.busy)
        return DATA[index]


def test_the_parts_of_a_time_add_up():
    parts = {"compute": 1.0, "overhead": 2.0, "data": 4.0, "evaluation": 8.0, "startup": 16.0}
    taken = RunSeconds(**parts, checkpoints=32.0)
    assert taken.training == 7.0
    assert taken.total == 63.0
    assert sum(taken.spent_on(part) for part in ("compute", "overhead", "data", "evaluation")) == 63


def test_what_takes_most_of_the_time_binds():
    assert RunSeconds(compute=1.0, data=2.0).binds == "data"
    assert RunSeconds(compute=1.0, evaluation=2.0).binds == "evaluation"
    assert RunSeconds(compute=1.0, overhead=0.6, startup=0.6).binds == "overhead"
    assert what_binds([RunSeconds(compute=9.0), RunSeconds(compute=1.0, data=8.0)]) == "compute"


def test_a_speed_predicts_every_part_of_a_run():
    spec = isoflop.plan(mlp_task(), budgets=[1e7]).specs[0]
    speed = Speed(
        steps=Rate(0.5, spec.flops / 100),
        peak_flops_per_second=1e10,
        reading=ReadingSpeed(batch_seconds=1.0, example_seconds=0.01, start=3.0),
        evaluation=EvaluationSpeed(
            forward=Rate(0.2, 1e9), reading=ReadingSpeed(example_seconds=0.1, start=5.0),
            num_batches=6, batch=10, num_passes=2,
        ),
        startup=Rate(1.0, spec.num_params),
    )  # fmt: skip
    taken = speed.seconds(spec)
    assert taken.compute == pytest.approx(100)
    assert taken.overhead == pytest.approx(0.5 * spec.num_steps)
    assert taken.data == pytest.approx(spec.num_steps * (1 + 0.01 * spec.batch))
    assert taken.evaluation == pytest.approx(6 * (0.2 + 1.0) + 2 * 5.0)
    assert taken.startup == pytest.approx(1.0 + 1.0 + 3.0)
    assert taken.checkpoints > 0  # the run takes longer than the interval
    assert speed.mfu(spec) == pytest.approx(spec.flops / taken.training / 1e10)
    on_gpu = replace(speed, overlaps=True).seconds(spec)  # computes while the batch is read
    assert on_gpu.data == pytest.approx(max(0.0, taken.data - taken.compute))


def test_workers_share_waiting_and_the_cores_that_there_are_share_work():
    waits = ReadingSpeed(example_seconds=0.1, busy=0.0, num_workers=4, num_cores=2)
    assert replace(waits, num_workers=0).waiting(1.0, 40) == pytest.approx(4.0)
    assert waits.waiting(0.0, 40) == pytest.approx(1.0)
    # the step takes longer than reading ahead
    assert waits.waiting(2.0, 40) == pytest.approx(TRANSFER_SECONDS)
    works = replace(waits, busy=1.0, num_cores=1)
    assert works.waiting(1.0, 40) == pytest.approx(4.0, rel=0.01)  # as without workers
    assert replace(works, num_cores=8).waiting(0.0, 40) == pytest.approx(1.0, rel=0.01)


def test_a_quick_data_set_is_read_in_whole_batches(clock):
    class Whole(Slow):
        def __getitems__(self, indices):
            self.clock.passes(0.001)
            return [DATA[index] for index in indices]

    read = measure_reading(open_data(Whole(clock, 1.0), "train_data"), [8, 64])
    assert read.speed.seconds(64) == pytest.approx(0.001)
    assert read.num_examples == 64


def test_of_slow_items_few_are_read(clock):
    data = Slow(clock, 2.0, busy=0.5)
    speed = measure_reading(open_data(data, "train_data"), [8, 64]).speed
    assert data.num_read <= 4
    assert speed.seconds(64) == pytest.approx(128.0)
    assert speed.busy == pytest.approx(0.25)


def test_items_whose_first_one_is_slow_are_read_on(clock):
    class Opened(Slow):
        def __getitem__(self, index):
            self.seconds = 30.0 if self.num_read == 0 else 0.001
            return super().__getitem__(index)

    speed = measure_reading(open_data(Opened(clock, 0.0), "train_data"), [64]).speed
    assert speed.seconds(64) == pytest.approx(0.064)


def test_collating_counts_for_a_batch_or_for_each_example(clock):
    def heavy(items):
        clock.passes(1.0 + 0.01 * len(items))
        return default_collate(items)

    loader = DataLoader(DATA, batch_size=8, collate_fn=heavy)
    speed = measure_reading(open_data(loader, "train_data"), [8, 64]).speed
    assert speed.batch_seconds == pytest.approx(1.0)
    assert speed.example_seconds == pytest.approx(0.01)


def test_streams_and_batches_are_read_too(clock):
    class Stream(IterableDataset):
        def __iter__(self):
            clock.passes(7.0)
            for index in range(3):  # shorter than a batch
                clock.passes(0.001)
                yield DATA[index]

    def batches(seed):
        for _ in range(9):
            clock.passes(0.01)
            yield DATA[:32]

    stream = measure_reading(open_data(Stream(), "train_data"), [8]).speed
    assert stream.start == pytest.approx(7.0)
    made = measure_reading(open_data(batches, "train_data"), [32])
    assert made.speed.seconds(32) == pytest.approx(0.01)
    assert made.num_examples == 32


def test_huge_batches_are_not_read_whole(clock):
    data = Slow(clock, 1e-6)
    speed = measure_reading(open_data(data, "train_data"), [10**9]).speed
    assert data.num_read < 10 * MOST_PROBED
    assert speed.seconds(10**9) == pytest.approx(1e3, rel=0.01)


def test_a_plan_on_slow_data_says_that_data_bind(clock):
    sweep = isoflop.plan(mlp_task(train_data=Slow(clock, 1.0)), budgets=[1e7])
    assert sweep.binds == "data"
    for spec in sweep.specs:
        assert sweep.seconds[spec.id] == pytest.approx(spec.num_steps * spec.batch, rel=0.1)
    assert "mostly reading data" in str(sweep)
    note = next(note for note in sweep.notes if note.code == "data-bound")
    assert "num_workers" in note
    quick = isoflop.plan(mlp_task(), budgets=[1e6])
    assert not [note for note in quick.notes if note.code.endswith("-bound")]


def test_slow_held_out_data_make_the_evaluation_bind(clock):
    sweep = isoflop.plan(mlp_task(val_data=Slow(clock, 1.0)), budgets=[1e6])
    assert sweep.binds == "evaluation"
    assert sum(sweep.seconds.values()) > len(sweep) * 4000  # every example, in every run


def test_a_note_names_what_most_of_the_time_goes_to():
    (note,) = time_notes([RunSeconds(compute=10.0, overhead=90.0)])
    assert note.code == "overhead-bound"
    assert "90 % of 100 s" in note
    assert time_notes([RunSeconds(compute=1000.0, overhead=900.0)]) == ()
    assert time_notes([RunSeconds(compute=1.0, overhead=9.0)]) == ()  # too short to matter
    assert time_notes([RunSeconds(compute=40.0, data=45.0, evaluation=44.0)]) == ()
    assert time_notes([]) == ()
    assert goes_to("compute") == goes_to(None) == ""


def test_the_recipes_own_optimiser_is_timed():
    used = []

    class Own(torch.optim.SGD):
        def __init__(self, groups, lr, betas):
            super().__init__(groups, lr=lr)

        def step(self, closure=None):
            used.append(time.perf_counter())
            return super().step(closure)

    task = mlp_task(recipe=isoflop.Recipe(epochs=None, optimizer=Own))
    specs = isoflop.plan(task, budgets=[1e6]).specs
    used.clear()
    assert measure_speed(task, specs) is not None
    assert used
