"""Trainers of the user's keep the promises of isoflop's own loop on every executor."""

import os
import time

import pytest
from trained import Trying, Waiting, command_for

import isoflop
from isoflop.training.trainer import TrainerWork
from ladder import BUDGETS, ladder

EXECUTORS = ("in process", "processes", "ray", "slurm")


@pytest.fixture(scope="module")
def specs():
    return isoflop.plan(ladder(), budgets=BUDGETS).specs[:3]


@pytest.mark.parametrize("kind", ["function", "command"])
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_run_comes_back_once_whatever_becomes_of_it(
    name, kind, make_executor, specs, tmp_path, monkeypatch
):
    monkeypatch.setattr("isoflop.training.executors.stored_work.RETRY_SECONDS", (0.01,))
    fails, dies, _fine = specs
    if kind == "function" and name == "in process":
        dies = None  # its worker is the caller
    store = isoflop.DirectoryStore(tmp_path / "store")
    trainer = (
        Trying(fails.id, "" if dies is None else dies.id)
        if kind == "function"
        else command_for({fails.size: "fails", dies.size: "dies"}, tmp_path)
    )
    recorded = {}
    for run in make_executor(name).map(TrainerWork(trainer, store), list(specs)):
        assert run.id not in recorded
        recorded[run.id] = store.read_run(run.id)
        assert str(recorded[run.id]) == str(run)
    assert {spec.id: recorded[spec.id].status for spec in specs} == {
        spec.id: "failed" if spec is fails else "completed" for spec in specs
    }
    assert "not this one" in recorded[fails.id].error
    calls = {spec.id: len(read(store, spec, "calls")) for spec in specs}
    assert calls == {spec.id: 2 if spec is dies else 1 for spec in specs}


@pytest.mark.parametrize("kind", ["function", "command"])
@pytest.mark.parametrize("name", EXECUTORS)
def test_a_stopped_sweep_ends_its_trainers_and_goes_on(name, kind, make_executor, specs, tmp_path):
    first, waits = specs[2], specs[0]
    store = isoflop.DirectoryStore(tmp_path / "store")
    trainer = (
        Waiting(waits.id) if kind == "function" else command_for({waits.size: "waits"}, tmp_path)
    )
    work = TrainerWork(trainer, store)
    runs = iter(make_executor(name).map(work, [first, waits]))
    assert next(runs).id == first.id
    begun = store.path / waits.id / "trainer" / ("pid" if kind == "command" else "calls")
    end = time.monotonic() + 20
    while name != "in process" and not begun.exists() and time.monotonic() < end:
        time.sleep(0.02)
    runs.close()
    assert store.read_run(waits.id) is None
    assert not list(store.path.glob("*/lease-*")), "somebody is still at work"
    if begun.exists():
        assert read(store, waits, "saved") == "state"
        if kind == "command":
            with pytest.raises(ProcessLookupError):
                os.kill(int(read(store, waits, "pid")), 0)
    elif kind == "function":
        (store.path / waits.id / "trainer").mkdir(parents=True, exist_ok=True)
        (store.path / waits.id / "trainer" / "saved").write_text("state")
    else:
        (store.path / waits.id / "trainer").mkdir(parents=True, exist_ok=True)
        (store.path / waits.id / "trainer" / "calls").write_text("x")
    again = {run.id: run.status for run in isoflop.InProcess().map(work, [first, waits])}
    assert again == {first.id: "completed", waits.id: "completed"}
    assert len(read(store, first, "calls")) == 1


def read(store, spec, name):
    return (store.path / spec.id / "trainer" / name).read_text()
