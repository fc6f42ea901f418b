"""Data workers: the same batches from any number of them, and what happens when they fail."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

import isoflop
from isoflop.training import data_workers, measured_reading
from isoflop.training.batches import held_out_batches, training_batches
from isoflop.training.data_workers import DataWorkers, data_workers_of
from isoflop.training.executors import stored_work
from isoflop.training.executors.work import TaskWork
from isoflop.training.loop import train_model
from isoflop.training.reading import close_workers
from isoflop.user_code.data import open_data
from tasks import examples, mlp_task

pytestmark = [
    # of more workers than cores
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # PyTorch raises from its signal handler that a worker has died, which may be while it opens
    # a temporary file to see whether files can still be opened
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.usefixtures("warm_python"),
]


@pytest.fixture(autouse=True)
def no_worker_left():
    yield
    close_workers()
    assert not multiprocessing.active_children()


class Augmented(Dataset):
    """Examples with noise, and who read them."""

    def __init__(self, size=60):
        self.size = size
        self.number = -1

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.randn(2), index, os.getpid(), self.number


class Stream(IterableDataset):
    def __iter__(self):
        return ((torch.randn(2), k, os.getpid()) for k in range(50))


def weighted():
    sampler = WeightedRandomSampler(
        [1.0 + k % 3 for k in range(60)], 60, generator=torch.Generator().manual_seed(3)
    )
    return {"dataset": Augmented(), "sampler": sampler}


KINDS = {
    "examples": lambda: {"dataset": Augmented()},
    "sampler": weighted,
    "stream": lambda: {"dataset": Stream()},
    "batches": lambda: {"dataset": Stream(), "batch_size": None},
}


@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers_gives_the_same_batches_from_any_step(kind, share):
    def batches(num_workers, first):
        # a sampler's own generator would go on from read to read
        loader = DataLoader(**{"batch_size": 4, **KINDS[kind]()}, num_workers=num_workers)
        source = open_data(loader, "train_data")
        return list(islice(training_batches(source, 5, 3, first, None, share), 16 - first))

    if kind == "batches":  # each item is a batch of two numbers
        share = (0, 1)
    alone = batches(0, 0)
    for num_workers, first in ((1, 0), (3, 0), (3, 7)):
        others = batches(num_workers, first)
        assert all(
            torch.equal(torch.as_tensor(one[k]), torch.as_tensor(other[k]))
            for one, other in zip(alone[first:], others, strict=True)
            for k in (0, 1)
        )
        readers = {
            process
            for other in others
            for process in torch.as_tensor(other[2]).reshape(-1).tolist()
        }
        assert os.getpid() not in readers
        assert kind == "batches" or len(readers) == (
            num_workers if kind in ("examples", "sampler") else 1
        )


def test_workers_stay_between_runs_and_the_evaluation_of_the_same_data_set():
    loader = DataLoader(Augmented(), num_workers=2)

    def readers(batches):
        return {process for batch in batches for process in batch[2].tolist()}

    first = readers(islice(training_batches(open_data(loader, "train_data"), 5, 0, 0, None), 6))
    second = readers(islice(training_batches(open_data(loader, "train_data"), 4, 1, 9, None), 6))
    third = readers(
        each.batch for each in held_out_batches(open_data(loader, "val_data"), 60, 6, 0)
    )
    assert first == second == third
    assert len(first) == 2


def test_two_readings_at_once_do_not_disturb_each_other():
    loader = DataLoader(Augmented(), num_workers=1)
    source = open_data(loader, "train_data")
    pairs = zip(
        training_batches(source, 5, 0, 0, None),
        training_batches(source, 5, 0, 0, None),
        strict=True,
    )
    assert all(torch.equal(one[0], other[0]) for one, other in islice(pairs, 8))


def numbered(worker_id):
    torch.utils.data.get_worker_info().dataset.number = worker_id


def test_the_loaders_own_settings_are_honoured():
    loader = DataLoader(
        Augmented(),
        num_workers=2,
        prefetch_factor=3,
        worker_init_fn=numbered,
        multiprocessing_context="spawn",
        collate_fn=lambda items: torch.tensor([item[3] for item in items]),
    )
    batches = training_batches(open_data(loader, "train_data"), 5, 0, 0, None)
    assert {number for batch in islice(batches, 4) for number in batch.tolist()} == {0, 1}


class Faulty(Dataset):
    """Fails in one way at one example, once a file is there or at once."""

    def __init__(self, fault, at=37):
        self.fault, self.at, self.data = fault, at, examples(4000)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if index == self.at and torch.utils.data.get_worker_info() is not None:
            self.fault()
        return self.data[index]


def leave():
    os._exit(3)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def sleep():
    time.sleep(1000)


def fail():
    raise ValueError("a broken image")


def refuse(worker_id):
    raise OSError("no such share")


DIED = "one of them died|DataLoader worker .* (killed|exited)"  # by which call notices first
FAULTS = {
    "leaves": (leave, {}, DIED),
    "is killed": (kill, {}, DIED),
    "hangs": (
        sleep,
        {"timeout": 0.5},
        "must give a batch within its DataLoader's timeout of 0.5 s",
    ),
    "raises": (fail, {}, r"example 37 raised ValueError \(a broken image\); repair it"),
    "does not start": (
        fail,
        {"worker_init_fn": refuse},
        "got OSError: no such share; check the worker",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_worker_that_fails_fails_its_run_in_one_sentence_and_the_sweep_goes_on(name, monkeypatch):
    monkeypatch.setattr(stored_work, "RETRY_SECONDS", ())
    fault, settings, message = FAULTS[name]
    faulty = DataLoader(Faulty(fault), num_workers=2, **settings)
    sweep = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6])
    spec = sweep.specs[0]
    run = TaskWork(mlp_task(train_data=faulty), isoflop.MemoryStore())(spec)
    assert run.status == "failed"
    assert "\n" not in run.error
    assert len(run.error) < 500
    assert re.search(message, run.error), run.error
    # the next run has new workers
    sound = DataLoader(examples(4000), num_workers=1)
    assert TaskWork(mlp_task(train_data=sound), isoflop.MemoryStore())(spec).status == "completed"


def test_a_hanging_worker_is_ended_by_hang_seconds():
    spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6]).specs[0]
    task = mlp_task(train_data=DataLoader(Faulty(sleep), num_workers=1))
    run = TaskWork(task, isoflop.MemoryStore(), hang_seconds=0.5)(spec)
    assert run.status == "failed"
    assert "no step for" in run.error


def test_a_killed_worker_costs_no_run_if_it_passes(monkeypatch, tmp_path):
    monkeypatch.setattr(stored_work, "RETRY_SECONDS", (0.0,))

    def once():
        if not (tmp_path / "dead").exists():
            (tmp_path / "dead").touch()
            kill()

    spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6]).specs[0]
    task = mlp_task(train_data=DataLoader(Faulty(once), num_workers=2))
    run = TaskWork(task, isoflop.MemoryStore())(spec)
    assert run.loss == train_model(mlp_task(), spec, isoflop.MemoryStore()).loss


class Empty(IterableDataset):
    def __iter__(self):
        return iter(())


def test_a_stream_that_yields_nothing_is_refused_in_one_sentence():
    for num_workers in (0, 1):
        source = open_data(DataLoader(Empty(), num_workers=num_workers), "train_data")
        with pytest.raises(isoflop.DataError, match="pass 1 yielded none; give data"):
            next(training_batches(source, 4, 0, 0, None))


PROGRAM = """
import os, sys, time
import torch
from torch.utils.data import DataLoader, Dataset
import isoflop
sys.path.insert(0, sys.argv[2])
from isoflop.storage.directory import DirectoryStore
from isoflop.training.executors.work import TaskWork
from tasks import examples, mlp_task

class Noted(Dataset):
    def __len__(self):
        return 4000
    def __getitem__(self, index):
        open(f"{sys.argv[1]}/reader-{os.getpid()}", "w").close()
        time.sleep(0.0005)
        x, y = DATA[index]
        return x + torch.randn(8) / 10, y

DATA = examples(4000)
task = mlp_task(train_data=DataLoader(Noted(), num_workers=2))
spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6]).specs[0]
store = DirectoryStore(sys.argv[1] + "/store")
print(TaskWork(task, store, checkpoint_seconds=0.0)(spec).loss)
"""


@pytest.mark.slow
def test_a_program_killed_within_an_epoch_resumes_bit_for_bit_and_leaves_no_worker(tmp_path):
    here = str(Path(__file__).parents[1])

    def started(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / folder), here]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    undisturbed, killed = started("whole"), started("killed")
    store = tmp_path / "killed" / "store"
    while not list(store.rglob("checkpoint*")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    readers = [int(path.name.split("-")[1]) for path in (tmp_path / "killed").glob("reader-*")]
    resumed = started("killed")
    assert float(resumed.communicate()[0]) == float(undisturbed.communicate()[0])
    end = time.monotonic() + 20
    while any(Path(f"/proc/{reader}").exists() for reader in readers):
        assert time.monotonic() < end, "a data worker outlives its program"
        time.sleep(0.1)
    assert readers


class Plain(Dataset):
    """A data set without a loader whose examples take a while."""

    def __init__(self):
        self.data = examples(4000)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        time.sleep(0.001)
        x, y = self.data[index]
        return x + torch.randn(8) / 10, y


class Holding(Plain):
    """Holds an open file, which several processes must not share."""

    def __init__(self):
        super().__init__()
        self.file = open(os.devnull, "rb")  # noqa: SIM115

    def __del__(self):
        self.file.close()


@pytest.mark.parametrize("data", [Plain, Holding])
def test_slow_data_get_workers_on_spare_cores_and_the_same_losses(data, monkeypatch, capsys):
    monkeypatch.setattr(measured_reading, "START_SECONDS", 0.02)
    task = mlp_task(train_data=data())
    spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[6e4]).specs[0]
    read_here = train_model(task, spec, isoflop.MemoryStore())
    assert not multiprocessing.active_children()
    read_ahead = train_model(
        task, spec, isoflop.MemoryStore(), data_workers=DataWorkers("auto", spare_cores=1)
    )
    assert read_ahead.loss == read_here.loss
    said = capsys.readouterr().err
    if data is Holding:
        assert "cannot be copied to other processes; give a DataLoader" in said
    else:
        assert len(multiprocessing.active_children()) == 1
        assert "from here on 1 further process read it ahead" in said


def test_data_in_memory_and_fast_data_get_no_workers():
    auto = DataWorkers("auto", spare_cores=8)
    spec = isoflop.plan(mlp_task(sizes=[4, 8, 12]), budgets=[1e6]).specs[0]
    for data in (examples(4000), list(examples(4000))):
        train_model(mlp_task(train_data=data), spec, isoflop.MemoryStore(), data_workers=auto)
        assert not multiprocessing.active_children()


class Watched(Dataset):
    """Leaves a file for each process that reads it in training."""

    def __init__(self, folder):
        self.folder, self.data = folder, examples(4000)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if self.folder.exists():
            (self.folder / str(os.getpid())).touch()
        x, y = self.data[index]
        return x + torch.randn(8) / 10, y


@pytest.mark.parametrize(
    ("executor", "given", "num_readers"),
    [
        (isoflop.InProcess(), 0, 1),
        (isoflop.InProcess(), 2, 2),
        pytest.param(isoflop.Processes(1), 2, 2, marks=pytest.mark.slow),
    ],
)
def test_train_reads_in_as_many_processes_as_requested(executor, given, num_readers, tmp_path):
    folder = tmp_path / "readers"
    task = mlp_task(train_data=Watched(folder), sizes=[4, 8, 12])
    sweep = isoflop.plan(task, budgets=[6e4])
    undisturbed = [train_model(task, spec, isoflop.MemoryStore()).loss for spec in sweep.specs]
    folder.mkdir()
    runs = isoflop.train(
        task, sweep, store=tmp_path / "store", executor=executor, data_workers=given, progress=False
    )
    assert [run.loss for run in runs] == undisturbed
    readers = {int(path.name) for path in folder.iterdir()} - {os.getpid()}
    # the process that trains looks at the first examples, whoever reads the batches
    assert len(readers) >= num_readers if given else not readers
    assert not multiprocessing.active_children()


def test_a_number_of_data_workers_that_is_none_is_refused():
    task = mlp_task(sizes=[4, 8, 12])
    sweep = isoflop.plan(task, budgets=[2e5])
    with pytest.raises(isoflop.PlanError, match="data_workers must be a whole number .*'many'"):
        isoflop.train(task, sweep, store=isoflop.MemoryStore(), data_workers="many")


def test_workers_of_a_run_leave_the_other_cores_to_reading(monkeypatch):
    monkeypatch.setattr(data_workers, "num_cores", lambda: 16)
    given = [
        data_workers_of("auto", executor, 100, num_ranks).spare_cores
        for executor, num_ranks in (
            (isoflop.InProcess(), 1),
            (isoflop.Processes(4), 1),
            (isoflop.Processes(16), 1),
            (isoflop.InProcess(), 2),
        )
    ]
    assert given == [15, 3, 0, 7]


def test_settings_without_effect_are_noted_in_the_plan():
    def notes(**settings):
        task = mlp_task(train_data=DataLoader(examples(4000), **settings), sizes=[4, 8, 12])
        return [note for note in isoflop.plan(task, budgets=[1e6]).notes if "DataLoader" in note]

    assert notes(num_workers=1, pin_memory=True) == []
    (note,) = notes(drop_last=True, generator=torch.Generator())
    assert note.code == "loader-settings-unused"
    assert "The drop_last and generator of train_data's DataLoader have no effect" in note


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_workers_that_a_stream_leaves_idle_are_noted_in_the_plan(num_workers):
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(examples(4000))

    loader = DataLoader(Endless(), num_workers=num_workers)
    sweep = isoflop.plan(mlp_task(train_data=loader, sizes=[4, 8, 12]), budgets=[1e6])
    notes = [str(note) for note in sweep.notes if note.code == "stream-workers-idle"]
    assert len(notes) == (num_workers == 3)
    assert all("2 of its DataLoader's 3 read nothing" in note for note in notes)


STOPPED = PROGRAM.replace("0.0005", "0.005").replace(
    "checkpoint_seconds=0.0", "checkpoint_seconds=1e9"
)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_saves_the_run_and_leaves_no_worker(number, tmp_path):
    command = [sys.executable, "-c", STOPPED, str(tmp_path), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as program:
        # the plan has read some examples in the program itself; then come the workers
        while len(list(tmp_path.glob("reader-*"))) < 3:
            assert program.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)
        os.killpg(program.pid, number)
        said = program.communicate(timeout=30)[1].decode()
    assert "data workers" not in said
    assert list((tmp_path / "store").rglob("checkpoint*"))
    readers = [int(path.name.split("-")[1]) for path in tmp_path.glob("reader-*")]
    end = time.monotonic() + 20
    while any(Path(f"/proc/{reader}").exists() for reader in readers):
        assert time.monotonic() < end, "a data worker outlives its program"
        time.sleep(0.1)
