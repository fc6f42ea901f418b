"""Several calls of train() on one store: different runs each, none twice, and what one leaves the other finishes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import isoflop
from isoflop.training import shared_store as sharing
from isoflop.training.executors.in_process import InProcess
from isoflop.training.executors.stored_work import Elsewhere
from isoflop.training.executors.work import TaskWork
from isoflop.training.ranks import current_ranks
from tasks import mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")

PROGRAM = """
import sys, os, time
sys.path.insert(0, {tests!r})
import isoflop
from isoflop.training.executors import work
from tasks import mlp_task

real = work.train_model

def noted(task, spec, *args, **kwargs):
    with open({log!r}, "a") as file:
        file.write(f"{{spec.id}} {name}\\n")
    run = real(task, spec, *args, **kwargs)
    time.sleep({seconds})
    return run

work.train_model = noted
task = mlp_task()
sweep = isoflop.plan(task, budgets=[1e6, 3e6])
open({folder!r} + "/ready-{name}", "w").close()
while len([each for each in os.listdir({folder!r}) if each.startswith("ready-")]) < {programs}:
    time.sleep(0.01)
runs = isoflop.train(task, sweep, store={store!r}, progress=False)
print(len(runs))
"""


def start(folder, name="one", programs=1, seconds=0.15):
    """A program that trains once so many are ready."""
    text = PROGRAM.format(
        tests=str(Path(__file__).parents[1]),
        store=str(folder / "store"),
        log=str(folder / "log"),
        folder=str(folder),
        name=name,
        programs=programs,
        seconds=seconds,
    )
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def trained(folder):
    return [line.split() for line in (folder / "log").read_text().splitlines()]


@pytest.fixture(scope="module")
def expected():
    sweep = isoflop.plan(mlp_task(), budgets=[1e6, 3e6])
    return {
        run.id: run.loss
        for run in isoflop.train(mlp_task(), sweep, store=isoflop.MemoryStore(), progress=False)
    }


def test_two_programs_on_one_store_split_the_work_and_both_have_all_runs(expected, tmp_path):
    programs = [start(tmp_path, name, programs=2) for name in ("one", "two")]
    for program in programs:
        output, errors = program.communicate(timeout=120)
        assert output == f"{len(expected)}\n", errors
    ids, workers = zip(*trained(tmp_path), strict=True)
    assert sorted(ids) == sorted(expected)
    assert set(workers) == {"one", "two"}
    assert {run.id: run.loss for run in isoflop.read_runs(tmp_path / "store")} == expected
    assert not list((tmp_path / "store").glob("*/*lease*"))


def test_a_program_finishes_what_a_killed_one_left(expected, tmp_path):
    """The other is this one, under way while the first is killed in the middle of a run that it holds."""
    doomed = start(tmp_path, seconds=60)
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    task = mlp_task()
    sweep = isoflop.plan(task, budgets=[1e6, 3e6])
    threading.Timer(0.3, doomed.kill).start()
    runs = isoflop.train(task, sweep, store=tmp_path / "store", progress=False)
    assert doomed.wait() == -signal.SIGKILL
    doomed.communicate()
    assert {run.id: run.loss for run in runs} == expected
    assert len(trained(tmp_path)) == 1


def test_a_run_that_another_session_holds_is_not_trained_but_awaited(monkeypatch, tmp_path):
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.01)
    task, store = mlp_task(), isoflop.DirectoryStore(tmp_path)
    specs = list(isoflop.plan(task, budgets=[1e6]).specs)
    work, left = TaskWork(task, store), threading.Event()

    def hold():
        with store.lease(specs[0].id, "other"):
            left.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    while not list(tmp_path.glob("*/lease-*")):
        time.sleep(0.001)
    assert isinstance(work(specs[0]), Elsewhere)
    assert store.read_run(specs[0].id) is None
    runs = []
    for run in sharing.records(InProcess(), work, specs, current_ranks()):
        runs.append(run)
        if len(runs) == len(specs) - 1:
            left.set()
    other.join()
    assert runs[-1].id == specs[0].id
    assert {run.status for run in runs} == {"completed"}
    assert len({run.id for run in runs}) == len(specs)


def test_waiting_for_another_program_is_said_once_with_its_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(sharing, "QUIET_SECONDS", 0.05)
    task, store = mlp_task(), isoflop.DirectoryStore(tmp_path)
    specs = list(isoflop.plan(task, budgets=[1e6]).specs)[:1]
    said = []

    def look(work, runs):
        found = real(work, runs)
        said.append(capsys.readouterr().err)
        if len(said) == 20:
            held.close()
        return found

    real = sharing._check
    monkeypatch.setattr(sharing, "_check", look)
    with ExitStack() as held:
        held.enter_context(store.lease(specs[0].id, "other"))
        (run,) = sharing.records(InProcess(), TaskWork(task, store), specs, current_ranks())
    assert run.status == "completed"
    (line,) = [line for line in said if "waiting" in line]
    assert line.startswith(
        f"isoflop: waiting for 1 run of another program: run {specs[0].id} (size "
    )
    assert re.search(
        rf"at 1e\+06 FLOPs\): process {os.getpid()} on .* since \d{{4}}-.* is training it$",
        line.strip(),
    )


def test_a_run_that_has_a_record_by_now_is_not_trained_again(tmp_path):
    task, store = mlp_task(), isoflop.DirectoryStore(tmp_path)
    spec = isoflop.plan(task, budgets=[1e6]).specs[0]
    work = TaskWork(task, store)
    first = work(spec)
    written = (tmp_path / spec.id / "record.json").stat().st_mtime_ns
    assert work(spec) == first
    assert (tmp_path / spec.id / "record.json").stat().st_mtime_ns == written
