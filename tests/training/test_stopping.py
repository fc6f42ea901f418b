"""SIGTERM saves and leaves with an exit code of its own; what follows equals an undisturbed sweep."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import isoflop
from tasks import mlp_task

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import isoflop
from tasks import mlp_task
task = mlp_task()
sweep = isoflop.plan(task, budgets=[3e6])
isoflop.train(task, sweep, store={store!r}, executor={executor}, progress=False, checkpoint_seconds=1000)
"""


def start(store, executor):
    text = PROGRAM.format(tests=str(Path(__file__).parents[1]), store=str(store), executor=executor)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


def results(store):
    return {run.id: (run.loss, run.curve, run.num_tokens) for run in isoflop.read_runs(store)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    task = mlp_task()
    isoflop.train(task, isoflop.plan(task, budgets=[3e6]), store=store, progress=False)
    return results(store)


@pytest.mark.parametrize("executor", ["None", "isoflop.Processes(2)"])
def test_sigterm_saves_and_exits_75_and_the_sweep_goes_on_bit_for_bit(executor, undisturbed, tmp_path):
    draw = random.Random(1)
    for _ in range(3):
        process = start(tmp_path, executor)
        begun = len(list(tmp_path.glob("*/spec.json")))
        while process.poll() is None and len(list(tmp_path.glob("*/spec.json"))) <= begun:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.3)
        if len(list(tmp_path.glob("*/record.json"))) == 7:
            process.communicate(timeout=60)
            break  # it ends by itself
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 75, errors
    last = start(tmp_path, executor)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert results(tmp_path) == undisturbed


def test_a_checkpoint_is_saved_when_asked_to_stop(tmp_path):
    process = start(tmp_path, "None")
    while not list(tmp_path.glob("*/spec.json")):
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert len(list(tmp_path.glob("*/checkpoint"))) == 1
