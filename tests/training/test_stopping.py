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

pytestmark = pytest.mark.usefixtures("warm_python")

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import isoflop
from tasks import mlp_task
task = mlp_task()
sweep = isoflop.plan(task, budgets=[3e6], check_rates=None)
isoflop.train(task, sweep, store={store!r}, executor={executor}, progress=False, checkpoint_seconds=1000)
"""


def start(store, executor, budgets="[3e6]"):
    text = PROGRAM.replace("[3e6]", budgets).format(
        tests=str(Path(__file__).parents[1]), store=str(store), executor=executor
    )
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


def results(store):
    return {run.id: (run.loss, run.curve, run.num_tokens) for run in isoflop.read_runs(store)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("undisturbed")
    task = mlp_task()
    isoflop.train(task, isoflop.plan(task, budgets=[3e6]), store=store, progress=False)
    return results(store)


def test_sigterm_saves_and_exits_75_and_the_sweep_goes_on_bit_for_bit(undisturbed, tmp_path):
    """Alone, then with workers, and to its end in this process."""
    draw = random.Random(1)
    for executor in ("None", "isoflop.Processes(2)"):
        process = start(tmp_path, executor)
        begun = len(list(tmp_path.glob("*/spec.json")))
        while process.poll() is None and len(list(tmp_path.glob("*/spec.json"))) <= begun:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.1)
        if len(list(tmp_path.glob("*/record.json"))) == len(undisturbed):
            process.communicate(timeout=60)
            break  # it ends by itself
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 75, errors
    task = mlp_task()
    isoflop.train(task, isoflop.plan(task, budgets=[3e6]), store=tmp_path, progress=False)
    assert results(tmp_path) == undisturbed


def test_a_checkpoint_is_saved_when_asked_to_stop(tmp_path):
    process = start(tmp_path, "None", budgets="[1e9]")  # each run takes seconds
    while process.poll() is None and not list(tmp_path.glob("*/spec.json")):
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert len(list(tmp_path.glob("*/checkpoint"))) == 1


@pytest.mark.slow
def test_twenty_random_kills_leave_a_sweep_bit_for_bit_undisturbed(tmp_path):
    """SIGKILL and SIGTERM by turns, at any moment from the start of the program on; checkpoints five times a second."""
    text = PROGRAM.format(
        tests=str(Path(__file__).parents[1]), store="STORE", executor="isoflop.Processes(2)"
    )
    text = text.replace("[3e6]", "[1e10, 3e10]").replace(
        "checkpoint_seconds=1000", "checkpoint_seconds=0.2"
    )

    def start_in(store):
        return subprocess.Popen(
            [sys.executable, "-c", text.replace("STORE", str(store))], stderr=subprocess.DEVNULL
        )

    assert start_in(tmp_path / "undisturbed").wait(timeout=600) == 0
    draw, num_hit = random.Random(7), 0
    while num_hit < 20:
        process = start_in(tmp_path / "disturbed")
        time.sleep(2 + 4 * draw.random())
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if num_hit % 2 else signal.SIGTERM)
            num_hit += 1
        process.wait(timeout=60)
        num_done = len(list(tmp_path.glob("disturbed/*/record.json")))
        assert num_hit == 20 or num_done < 14, "the sweep ended too early to be hit"
    assert start_in(tmp_path / "disturbed").wait(timeout=600) == 0
    assert results(tmp_path / "disturbed") == results(tmp_path / "undisturbed")
    print(f"{num_hit} signals, {len(results(tmp_path / 'disturbed'))} runs equal")
