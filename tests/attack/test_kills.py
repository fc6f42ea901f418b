"""Programs killed at any moment, and disks that fill up at any moment: what follows equals an undisturbed sweep.

The short part forks: a child kills itself at a file operation that is drawn by seed, before or after it. The campaigns
(`make campaigns`) kill whole programs and their workers from outside, and fill a real file system.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import isoflop
from isoflop.errors import StoreError
from isoflop.planning.sweep import Sweep
from isoflop.storage.directory import DirectoryStore
from tasks import MLP, examples, mlp_task

FORKS = hasattr(os, "fork")


class Hungry(MLP):
    """Does not take more than 16 examples at once."""

    def forward(self, x):
        if self.training and len(x) > 16 and x.device.type == "cpu":
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


class Dropping(MLP):
    """Draws random numbers at each step."""

    def forward(self, x):
        return self.out(torch.dropout(torch.relu(self.hidden(x)), 0.1, self.training))


OPTIONS = {
    "ema": {"ema": 0.2},
    "branches": {"schedule": "wsd", "branches": True, "batch_tokens": 24},
    "wsd": {"schedule": "wsd", "ema": 0.1, "batch_tokens": 24},
    "micro-batches": {"batch_tokens": 40},
    "loader": {"batch_tokens": 24},
}
SIZES = [4, 8, 12]


@cache
def task_of(option):
    changes = {"micro-batches": {"model": Hungry}, "ema": {"model": Dropping}}.get(option, {})
    if option == "loader":
        changes = {"train_data": DataLoader(examples(4000), batch_size=8, num_workers=1)}
    return mlp_task(recipe=isoflop.Recipe(epochs=None, **OPTIONS[option]), sizes=SIZES, **changes)


@cache
def sweep_of(option):
    return isoflop.plan(task_of(option), budgets=[2e5, 6e5])


def train_all(store, options, executor=None, every=1, **changes):
    """Sweeps of several tasks in one store; of each every run, or every so-many-th."""
    for option in options:
        isoflop.train(
            task_of(option),
            Sweep(specs=sweep_of(option).specs[::every]),
            store=store,
            executor=executor,
            progress=False,
            **{"checkpoint_seconds": 0.0, **changes},
        )


def results(store):
    return {
        run.id: (run.status, run.loss, run.loss_stderr, run.curve, run.num_tokens, run.flops)
        for run in DirectoryStore(store).read_runs()
    }


def left_over(store):
    """Files of a store that has ended which no reader needs."""
    names = ("checkpoint", "reserve", "lease", ".")
    return [
        path for path in Path(store).rglob("*") if path.is_file() and path.name.startswith(names)
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    @cache
    def of(option, every):
        store = tmp_path_factory.mktemp("undisturbed")
        train_all(store, [option], every=every, checkpoint_seconds=1e9)
        return results(store)

    return lambda options, every=1: {
        run_id: result for option in options for run_id, result in of(option, every).items()
    }


def in_child(act):
    """Run in a forked process; gives its exit code, or the signal that ended it as a negative number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 2)
            act()
            code = 0
        except StoreError:
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# -- kill -9


def kill_at(operation, is_before):
    """Have this process end itself at its n-th operation on files."""
    num_done = 0

    def counted(real):
        def call(*arguments, **options):
            nonlocal num_done
            num_done += 1
            if num_done == operation and is_before:
                os.kill(os.getpid(), signal.SIGKILL)
            found = real(*arguments, **options)
            if num_done == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    for name in ("replace", "fsync", "link", "unlink", "utime"):
        setattr(os, name, counted(getattr(os, name)))
    Path.unlink = counted(Path.unlink)


def killed_until_done(store, options, draw, most, every=1):
    """Number of children that were killed, up to so many, before the sweeps ended."""
    killed = 0
    while True:
        at, is_before = int(10 ** draw.uniform(0, 2.5)) if killed < most else 0, draw.random() < 0.5
        code = in_child(
            lambda at=at, is_before=is_before: (
                kill_at(at, is_before),
                train_all(store, options, every=every),
            )
        )
        if code == 0:
            return killed
        assert code == -signal.SIGKILL
        killed += 1


@pytest.mark.skipif(not FORKS, reason="needs fork")
@pytest.mark.parametrize(("options", "every"), [(("ema", "micro-batches"), 3), (("branches",), 1)])
def test_kills_at_operations_on_files_leave_no_trace(options, every, undisturbed, tmp_path):
    expected = undisturbed(options, every)
    assert killed_until_done(tmp_path, options, random.Random(1), most=8, every=every) >= 4
    assert results(tmp_path) == expected
    assert not [
        path for path in tmp_path.glob("*/.*.partial") if not path.name.startswith(".lease.")
    ]


@pytest.mark.slow
def test_hundreds_of_kills_at_operations_on_files_leave_no_trace(undisturbed, tmp_path):
    options, draw, killed = tuple(OPTIONS), random.Random(2), 0
    undisturbed(options)
    num_stores = 0
    while killed < 200:
        num_stores += 1
        killed += killed_until_done(tmp_path / str(num_stores), options, draw, most=200)
        assert results(tmp_path / str(num_stores)) == undisturbed(options)
    print(f"{killed} kills in {num_stores} stores of {len(undisturbed(options))} runs, all equal")


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
import isoflop, test_kills
test_kills.train_all({store!r}, {options!r}, executor={executor}, checkpoint_seconds=0.05)
"""


def start(store, options, executor):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    text = PROGRAM.format(paths=paths, store=str(store), options=tuple(options), executor=executor)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


def children_of(pid):
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()] if tasks.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["None", "isoflop.Processes(2, retries=1000)"])
def test_programs_and_workers_that_are_killed_leave_no_trace(executor, undisturbed, tmp_path):
    """SIGKILL, SIGTERM and Ctrl-C by turns, on the program and on its workers."""
    options, draw = tuple(OPTIONS), random.Random(3)
    expected = undisturbed(options)
    hits = {"program": 0, "worker": 0}
    while True:
        process = start(tmp_path, options, executor)
        end = time.monotonic() + draw.uniform(4, 20)
        while process.poll() is None and sum(hits.values()) < 40:
            time.sleep(draw.uniform(0.1, 1))
            workers = children_of(process.pid)
            if workers and draw.random() < 0.3:
                hits["worker"] += 1
                _kill(draw.choice(workers), signal.SIGKILL)
            if time.monotonic() > end:
                hits["program"] += 1
                _kill(process.pid, draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
                break
        _, said = process.communicate(timeout=600)
        if process.returncode == 0:
            break
        assert process.returncode in (75, 1, -signal.SIGINT, -signal.SIGKILL), said
    assert results(tmp_path) == expected
    print(f"{hits} hit, {len(expected)} runs equal")


def _kill(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# -- full disks


@contextmanager
def small_disk(folder, num_bytes):
    """A file system of so many bytes; skips where it may not be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system may not be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Write until nothing goes on the disk any more."""
    with open(folder / "filler", "ab", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


class FillingStore(DirectoryStore):
    """Its disk is filled when so many operations have been made on it."""

    at = None
    num_done = 0

    def __getattribute__(self, name):
        if name in ("write_run", "write_spec", "cut_curve", "lease", "append_curve"):
            cls = type(self)
            cls.num_done += 1
            if cls.num_done == cls.at:
                fill(self.path.parent)
        return super().__getattribute__(name)


def steps_of(log):
    return log.stat().st_size if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [("ema", "micro-batches"), ("branches", "wsd")], ids="+".join)
def test_a_disk_that_fills_up_at_twenty_moments_costs_no_more_than_a_checkpoint_interval(
    options, undisturbed, tmp_path, monkeypatch
):
    """Checkpoints after every step. Steps are counted outside the disk."""
    expected, log = undisturbed(options), tmp_path / "steps"
    real = torch.optim.AdamW.step

    def counted(self, closure=None):
        with open(log, "ab", buffering=0) as file:
            file.write(b".")
        return real(self, closure)

    def train(folder, at=None):
        FillingStore.at, FillingStore.num_done, before = at, 0, steps_of(log)
        return in_child(lambda: train_all(FillingStore(folder / "store"), options)), steps_of(
            log
        ) - before

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    train_all(FillingStore(tmp_path / "store"), options)
    num_needed, num_operations = steps_of(log), FillingStore.num_done
    assert results(tmp_path / "store") == expected
    num_stops, lost = 0, []
    for moment in range(20):
        with small_disk(tmp_path / str(moment), "2m") as folder:
            code, num_before = train(folder, at=1 + moment * (num_operations - 1) // 19)
            assert code in (0, 3)
            num_stops += code == 3
            assert all(
                result == expected[run_id] for run_id, result in results(folder / "store").items()
            )
            assert not list(folder.rglob("*.partial"))
            (folder / "filler").unlink()
            code, num_after = train(folder)
            assert code == 0
            assert results(folder / "store") == expected
            assert not left_over(folder / "store")
            lost.append(num_before + num_after - num_needed)
    print(
        f"{num_stops} stops, {len(expected)} runs equal, of {num_needed} steps trained again: {lost}"
    )
    assert num_stops >= 10
    assert max(lost) <= 2 + 2 * len(
        options
    )  # each call of train() begins with a step that is no run's
