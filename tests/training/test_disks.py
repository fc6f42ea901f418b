"""Disks that fill up or fail, checkpoints that are damaged: what is said, what is kept, what goes on."""

import builtins
import errno
import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

import isoflop
from isoflop.errors import StoreError
from isoflop.storage import atomic, directory
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.status import clear_failed
from isoflop.training import trackers
from isoflop.training.checkpoint import load_checkpoint, save_checkpoint
from isoflop.training.executors import stored_work, work
from isoflop.training.loop import train_model
from isoflop.training.retries import is_passing
from tasks import MLP, examples, mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")


class Disk:
    """Stands for one that has room for so many bytes more, or that fails; only isoflop's own writers see it."""

    def __init__(self, monkeypatch):
        self.room, self.error, self.only = float("inf"), errno.ENOSPC, ""
        for module in (atomic, directory):
            monkeypatch.setattr(module, "open", self.open, raising=False)

    def frees(self, monkeypatch):
        """Count what is removed as room again."""
        real = Path.unlink

        def unlink(path, missing_ok=False):
            self.room += path.stat().st_size if path.exists() else 0
            real(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink)

    def open(self, path, mode="r", *arguments, **options):
        file = builtins.open(path, mode, *arguments, **options)  # noqa: SIM115
        return _File(file, self) if "r" not in mode and self.only in os.fspath(path) else file


class _File:
    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        if len(data) > self.disk.room:
            raise OSError(self.disk.error, os.strerror(self.disk.error))
        self.disk.room -= len(data)
        return self.file.write(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture(scope="module")
def sweep():
    whole = isoflop.plan(mlp_task(), budgets=[3e5])
    return replace(whole, specs=whole.specs[:2])


@pytest.fixture(scope="module")
def undisturbed(sweep):
    return results(isoflop.train(mlp_task(), sweep, store=isoflop.MemoryStore(), progress=False))


def results(runs):
    return {run.id: (run.status, run.loss, run.curve, run.num_tokens) for run in runs}


def trained(sweep, store, **options):
    return results(isoflop.train(mlp_task(), sweep, store=store, progress=False, **options))


def no_partials(folder):
    return not list(folder.rglob("*.partial"))


class Filling:
    """Called with each progress; does something to the disk when a share of a run is done."""

    def __init__(self, share, act):
        self.share, self.act, self.is_done = share, act, False

    def __call__(self, progress):
        if progress.num_tokens > self.share * progress.spec.num_tokens and not self.is_done:
            self.is_done = True
            self.act()


# -- no room for checkpoints


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_last_good_one_stays(
    code, disk, sweep, undisturbed, tmp_path, capsys
):
    spec, store = sweep.specs[0], DirectoryStore(tmp_path)
    seen = []

    def fail():
        seen.append(store.checkpoint(spec.id).read_bytes())
        disk.room, disk.error = 0, code

    def look(progress):
        filling(progress)
        if progress.num_tokens > 0.9 * spec.num_tokens:
            seen.append(store.checkpoint(spec.id).read_bytes())
            raise KeyboardInterrupt

    filling = Filling(0.3, fail)
    with pytest.raises(KeyboardInterrupt):
        train_model(mlp_task(), spec, store, on_progress=look, checkpoint_seconds=0.0)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "goes on, and its last good checkpoint stays.\n" in said
    assert os.strerror(code) in said
    assert seen[0] == seen[1]
    assert no_partials(tmp_path)
    disk.room = float("inf")
    assert results([train_model(mlp_task(), spec, store)])[spec.id] == undisturbed[spec.id]


def test_a_full_disk_gives_up_the_older_checkpoint_first(tmp_path, disk, monkeypatch):
    path = tmp_path / "checkpoint"
    for step in (1, 2):
        save_checkpoint(path, {"step": step, "weights": torch.zeros(1000)})
    assert step_of(tmp_path / "checkpoint.previous") == 1
    disk.frees(monkeypatch)
    disk.room = path.stat().st_size / 2
    save_checkpoint(path, {"step": 3, "weights": torch.zeros(1000)})
    assert (step_of(path), step_of(tmp_path / "checkpoint.previous")) == (3, 2)


# -- no room for a record, a spec, a curve


@pytest.mark.parametrize(
    "name", ["record.json", "spec.json", "reserve", "curve.jsonl", "task.json", "stages"]
)
def test_where_a_record_cannot_be_written_the_sweep_stops_with_one_error(
    name, disk, sweep, undisturbed, tmp_path, capsys
):
    disk.only, disk.room = name, 0
    with pytest.raises(
        StoreError, match=f"^Cannot write .*{name}.*: No space left on device; make room"
    ) as caught:
        DirectoryStore(tmp_path).write_stage("first", sweep.specs, {})
        trained(sweep, tmp_path)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert DirectoryStore(tmp_path).read_runs() == []
    assert no_partials(tmp_path)
    disk.room = float("inf")
    assert trained(sweep, tmp_path) == undisturbed
    assert no_partials(tmp_path)
    assert not [
        path
        for path in tmp_path.glob("*/*")
        if path.name.startswith(("reserve", "checkpoint", "lease"))
    ]


def test_a_record_is_written_on_a_disk_that_filled_up_meanwhile(
    disk, sweep, undisturbed, tmp_path, monkeypatch
):
    """What is kept for it, and the older checkpoint, make room."""
    spec, store = sweep.specs[0], DirectoryStore(tmp_path)
    disk.frees(monkeypatch)
    filling = Filling(0.5, lambda: setattr(disk, "room", 0))
    run = work.TaskWork(mlp_task(), store, filling)(spec)
    assert (
        results([run])[spec.id]
        == results(isoflop.read_runs(tmp_path))[spec.id]
        == undisturbed[spec.id]
    )


class Full(DirectoryStore):
    """Writes no record while the folder is marked."""

    def write_run(self, run):
        if (self.path / "full").exists():
            raise StoreError("Cannot write the record: No space left on device.")
        super().write_run(run)


def test_a_full_disk_stops_workers_with_one_error_and_no_run_has_failed(
    sweep, undisturbed, tmp_path, capfd
):
    (tmp_path / "full").touch()
    with pytest.raises(StoreError, match=r"^Cannot write the record: No space left on device\.$"):
        trained(sweep, Full(tmp_path), executor=isoflop.Processes(1))
    assert "Traceback" not in capfd.readouterr().err
    assert DirectoryStore(tmp_path).read_runs() == []
    (tmp_path / "full").unlink()
    assert trained(sweep, Full(tmp_path), executor=isoflop.Processes(1)) == undisturbed


# -- damaged checkpoints


def stopped_midway(spec, store, share=0.6):
    def stop(progress):
        if progress.num_tokens > share * spec.num_tokens:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(mlp_task(), spec, store, on_progress=stop, checkpoint_seconds=0.0)


def flip(path, seed):
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 1
    path.write_bytes(data)


def step_of(path):
    return load_checkpoint(path)["step"]


@pytest.mark.parametrize("num_damaged", [1, 2])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_or_to_the_start(
    num_damaged, sweep, undisturbed, tmp_path, capsys
):
    """One bit is enough, which torch itself reads without a word."""
    spec, store = sweep.specs[0], DirectoryStore(tmp_path)
    stopped_midway(spec, store)
    newest = store.checkpoint(spec.id)
    previous = newest.with_name("checkpoint.previous")
    assert step_of(newest) == step_of(previous) + 1
    for path in (newest, previous)[:num_damaged]:
        flip(path, 1)
    assert results(
        isoflop.train(mlp_task(), replace(sweep, specs=(spec,)), store=store, progress=False)
    ) == {spec.id: undisturbed[spec.id]}
    said = capsys.readouterr().err
    assert said.count("cannot be used (it is damaged) and is now checkpoint") == num_damaged


@pytest.mark.parametrize("seed", range(30))
def test_no_flipped_bit_of_a_checkpoint_goes_unseen(seed, tmp_path):
    save_checkpoint(tmp_path / "checkpoint", {"weights": torch.zeros(100), "step": 3})
    flip(tmp_path / "checkpoint", seed)
    with pytest.raises(ValueError, match="it is damaged"):
        load_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("held", [{"step": 3}, {"run": "another"}, None])
def test_a_checkpoint_of_another_run_is_not_used(held, sweep, undisturbed, tmp_path, capsys):
    spec, store = sweep.specs[0], DirectoryStore(tmp_path)
    stopped_midway(sweep.specs[1], store)
    path = store.checkpoint(spec.id)
    if held is None:
        path.parent.mkdir()
        path.write_bytes(store.checkpoint(sweep.specs[1].id).read_bytes())
    else:
        save_checkpoint(path, held)
    assert trained(sweep, store) == undisturbed
    assert (
        "cannot be used (it belongs to another run) and is now checkpoint.unreadable"
        in capsys.readouterr().err
    )


def test_a_curve_that_is_lost_does_not_change_the_runs(sweep, undisturbed, tmp_path):
    """The checkpoint holds it, too."""
    spec, store = sweep.specs[0], DirectoryStore(tmp_path)
    stopped_midway(spec, store)
    (tmp_path / spec.id / "curve.jsonl").write_text("[100, 1.0\n")
    assert trained(sweep, store) == undisturbed


def test_what_killed_writers_left_is_removed(sweep, tmp_path):
    """At once in the folder of a run that is tried again, elsewhere when no living writer can own it."""
    folder = tmp_path / sweep.specs[0].id
    folder.mkdir()
    mine, lease = (
        folder / ".checkpoint.123.abcdef01.partial",
        folder / ".lease.123.abcdef01.partial",
    )
    old, new = (
        tmp_path / ".task.json.123.abcdef01.partial",
        tmp_path / ".task.json.124.abcdef01.partial",
    )
    for path in (mine, lease, old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    trained(sweep, tmp_path)
    assert [path.exists() for path in (mine, lease, old, new)] == [False, True, False, True]


# -- errors that pass


@pytest.fixture
def impatient(monkeypatch):
    """No waiting between tries."""
    monkeypatch.setattr(stored_work, "RETRY_SECONDS", (0.0, 0.0, 0.0))


class Flaky(Dataset):
    """Raises an error at some of its reads; counted in a file, which workers and new processes share."""

    def __init__(self, folder, at, error):
        self.inner, self.folder, self.at, self.error = examples(4000), str(folder), at, error

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        if os.path.exists(f"{self.folder}/armed"):
            with builtins.open(f"{self.folder}/reads", "a") as file:
                file.write(".")
            if os.path.getsize(f"{self.folder}/reads") in self.at:
                raise self.error
        return self.inner[index]


def flaky(folder, at, error, armed=True):
    folder.mkdir(exist_ok=True)
    if armed:
        (folder / "armed").touch()
    return Flaky(folder, at, error)


def flaky_sweep(folder, at, error):
    """One run of a flaky task, and what it gives without the errors."""
    task = mlp_task(train_data=flaky(folder, at, error, armed=False), fingerprint="flaky")
    sweep = isoflop.plan(task, budgets=[3e5])
    sweep = replace(sweep, specs=sweep.specs[:1])
    expected = results(isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False))
    (folder / "armed").touch()
    return task, sweep, expected


def raised_from(error):
    found = RuntimeError("the shard could not be read")
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (ConnectionResetError("reset by peer"), True),
        (TimeoutError("timed out"), True),
        (raised_from(OSError(errno.ESTALE, "Stale file handle")), True),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error."), True),
        (RuntimeError("NCCL error in: ..."), True),
        (ValueError("odd"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (raised_from(ValueError("odd")), False),
    ],
)
def test_errors_of_disks_and_networks_pass_and_those_of_the_users_code_do_not(error, passes):
    assert is_passing(error) == passes


def test_a_run_that_meets_an_error_which_passes_goes_on_from_its_checkpoint(
    impatient, tmp_path, capsys
):
    error = OSError(errno.EIO, "Input/output error")
    task, sweep, expected = flaky_sweep(tmp_path / "data", (2000, 2500), error)
    runs = isoflop.train(
        task, sweep, store=tmp_path / "store", progress=False, checkpoint_seconds=0.0
    )
    assert results(runs) == expected
    said = capsys.readouterr().err
    assert said.count("it is tried again from its checkpoint in 0 s.") == 2
    assert str(error) in said
    num_reads = (tmp_path / "data" / "reads").stat().st_size
    assert num_reads <= runs[0].num_tokens + 4 * sweep.specs[0].batch + 20, (
        "it was trained from its start again"
    )


def test_an_error_that_stays_is_tried_four_times_and_rerun_goes_on_from_the_checkpoint(
    impatient, tmp_path, capsys
):
    task, sweep, expected = flaky_sweep(
        tmp_path / "data", range(2000, 10**9), OSError(errno.EIO, "Input/output error")
    )
    store = DirectoryStore(tmp_path / "store")
    (run,) = isoflop.train(task, sweep, store=store, progress=False, checkpoint_seconds=0.0)
    assert run.status == "failed"
    assert "raised OSError ([Errno 5] Input/output error)" in run.error
    assert run.error.endswith("at the last of 4 tries")
    step = step_of(store.checkpoint(run.id))
    assert step > 5
    (tmp_path / "data" / "armed").unlink()
    clear_failed(store)
    runs = isoflop.train(task, sweep, store=store, progress=False, checkpoint_seconds=0.0)
    assert results(runs) == expected


def test_an_error_that_the_next_try_meets_too_is_not_tried_again(impatient, tmp_path, capsys):
    task, sweep, _ = flaky_sweep(tmp_path / "data", (2000,), ValueError("odd"))
    (run,) = isoflop.train(task, sweep, store=tmp_path / "store", progress=False)
    assert "raised ValueError (odd)" in run.error
    assert "tried again from" not in capsys.readouterr().err


def test_a_stop_while_a_run_waits_for_its_next_try_is_obeyed(monkeypatch, tmp_path):
    monkeypatch.setattr(stored_work, "RETRY_SECONDS", (600.0,))
    task, sweep, _ = flaky_sweep(
        tmp_path / "data", (2000,), OSError(errno.EIO, "Input/output error")
    )
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as left:
        isoflop.train(task, sweep, store=tmp_path / "store", progress=False)
    assert left.value.code == 75
    assert DirectoryStore(tmp_path / "store").read_runs() == []


class Broken(MLP):
    """Raises what a device does that fails, once or always, as a file says."""

    def forward(self, x):
        mark = os.environ.get("BROKEN_DEVICE", "")
        if self.training and x.device.type == "cpu" and mark and os.path.exists(mark):
            told = Path(mark).read_text()
            if "once" in told:
                os.unlink(mark)
            raise RuntimeError(f"CUDA error: {told}")
        return super().forward(x)


def broken_sweep(tmp_path, monkeypatch, told):
    monkeypatch.setenv("BROKEN_DEVICE", str(tmp_path / "mark"))
    task = mlp_task(model=Broken)
    sweep = isoflop.plan(task, budgets=[3e5])
    (tmp_path / "mark").write_text(told)
    return task, replace(sweep, specs=sweep.specs[:2])


def test_a_worker_whose_device_broke_is_replaced(tmp_path, monkeypatch, capfd):
    task, sweep = broken_sweep(tmp_path, monkeypatch, "launch failure once")
    runs = isoflop.train(
        task, sweep, store=tmp_path / "store", executor=isoflop.Processes(1), progress=False
    )
    assert {run.status for run in runs} == {"completed"}
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("told", "num_failed"), [("launch failure", 0), ("device-side assert triggered", 1)]
)
def test_a_device_that_broke_in_this_process_stops_the_sweep_and_fails_no_other_run(
    told, num_failed, tmp_path, monkeypatch
):
    """An assertion on the device is the user's own: its run has failed."""
    task, sweep = broken_sweep(tmp_path, monkeypatch, told)
    with pytest.raises(isoflop.IsoflopError, match="nothing but errors .* start the program again"):
        isoflop.train(task, sweep, store=tmp_path / "store", progress=False)
    assert [run.status for run in DirectoryStore(tmp_path / "store").read_runs()] == num_failed * [
        "failed"
    ]


# -- trackers


class Failing:
    def __init__(self, moment):
        self.moment = moment

    def store_init_configuration(self, values):
        self.fail("open")

    def log(self, values, step):
        self.fail("log")

    def finish(self):
        self.fail("finish")

    def fail(self, moment):
        if moment == self.moment:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["open", "log", "finish"])
def test_a_tracker_that_fails_costs_no_run(
    moment, sweep, undisturbed, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(trackers, "_open", lambda name, spec, store: Failing(moment))
    assert trained(sweep, tmp_path, trackers=["tensorboard"]) == undisturbed
    assert (
        capsys.readouterr().err.count("tracker tensorboard failed (OSError: [Errno 28]") == 2
    )  # once per run
