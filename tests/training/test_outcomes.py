"""What train() says when it is stopped or when runs fail, and what a stopped or failed run keeps."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

import isoflop
from isoflop.cli.app import main
from isoflop.storage.atomic import write_text
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.status import clear_failed
from tasks import MLP, examples, mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")


class Troubled(MLP):
    """Raises at one of its training steps."""

    def forward(self, x):
        if (
            self.training and "TROUBLE_AFTER" in os.environ
        ):  # a global of this module would be part of the fingerprint
            os.environ["TROUBLE_AFTER"] = str(int(os.environ["TROUBLE_AFTER"]) - 1)
            if int(os.environ["TROUBLE_AFTER"]) < 0:
                raise RuntimeError("the data server is odd")
        return super().forward(x)


def small_sweep(task, number=3):
    sweep = isoflop.plan(task, budgets=[3e5])
    return replace(sweep, specs=sweep.specs[:number])


def test_failed_runs_end_in_a_summary_with_their_reasons(tmp_path, capsys, monkeypatch):
    task = mlp_task(model=Troubled)
    sweep = small_sweep(task)
    monkeypatch.setenv("TROUBLE_AFTER", "0")
    isoflop.train(task, sweep, store=tmp_path, progress=False)
    said = capsys.readouterr().err
    assert "isoflop: 3 runs: 3 failed.\n" in said
    assert "  3 failed with RuntimeError: the data server is odd (in forward, line " in said
    assert f"not tried again until they are forgotten: isoflop rerun {tmp_path}" in said
    isoflop.train(
        task, sweep, store=tmp_path, progress=False
    )  # nothing is left to train, and that is said again
    assert "3 failed" in capsys.readouterr().err


def test_completed_runs_need_no_summary(tmp_path, capsys):
    task = mlp_task()
    isoflop.train(task, small_sweep(task, 2), store=tmp_path, progress=False)
    assert capsys.readouterr().err == ""


def test_a_run_that_failed_goes_on_from_its_checkpoint_when_it_is_tried_again(
    tmp_path, capsys, monkeypatch
):
    task = mlp_task(model=Troubled)
    sweep = small_sweep(task, 1)
    (undisturbed,) = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    num_steps = round(sweep.specs[0].num_tokens / sweep.specs[0].batch)
    monkeypatch.setenv("TROUBLE_AFTER", str(num_steps // 2))
    (failed,) = isoflop.train(task, sweep, store=tmp_path, progress=False, checkpoint_seconds=0.0)
    assert failed.status == "failed"
    clear_failed(DirectoryStore(tmp_path))
    monkeypatch.setenv("TROUBLE_AFTER", str(num_steps // 2 + 3))  # enough for the rest, not for all
    (run,) = isoflop.train(task, sweep, store=tmp_path, progress=False)
    assert (run.loss, run.curve) == (undisturbed.loss, undisturbed.curve)


def test_a_torn_record_is_a_failed_run_of_the_sweep(tmp_path, capsys):
    task = mlp_task()
    sweep = small_sweep(task)
    runs = isoflop.train(task, sweep, store=tmp_path, progress=False)
    record = tmp_path / runs[1].id / "record.json"
    record.write_text(record.read_text()[:100])
    again = isoflop.train(task, sweep, store=tmp_path, progress=False)
    assert [run.status for run in again] == ["completed", "failed", "completed"]
    clear_failed(DirectoryStore(tmp_path))
    assert isoflop.train(task, sweep, store=tmp_path, progress=False)[1].loss == runs[1].loss


class Interrupted:
    """An executor that is stopped after one run, as by Ctrl-C, and saves the next one's state when it is closed."""

    def __init__(self, store):
        self.store = store

    def map(self, work, specs):
        try:
            yield work(specs[0])
            raise KeyboardInterrupt
        finally:
            write_text(self.store.checkpoint(specs[1].id), "state")


def test_ctrl_c_says_what_is_saved_and_how_to_go_on(tmp_path, capsys):
    task = mlp_task()
    store = DirectoryStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        isoflop.train(
            task, small_sweep(task), store=store, executor=Interrupted(store), progress=False
        )
    said = capsys.readouterr().err
    assert (
        f"stopped with 1 of 3 runs recorded and 1 saved midway in {tmp_path}; make the same call"
        in said
    )


def test_workers_have_saved_before_a_stop_in_the_callers_code_is_told(tmp_path, capsys):
    """Ctrl-C may come while a record is drawn: the executor is closed first."""

    def interrupt(run):
        raise KeyboardInterrupt

    task = mlp_task()
    store = DirectoryStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        isoflop.train(
            task,
            small_sweep(task),
            store=store,
            executor=Interrupted(store),
            progress=False,
            on_record=interrupt,
        )
    assert "stopped with 1 of 3 runs recorded and 1 saved midway" in capsys.readouterr().err


def test_a_stop_with_a_store_in_memory_promises_no_more_than_it_keeps(capsys):
    task = mlp_task()
    with pytest.raises(KeyboardInterrupt):
        isoflop.train(
            task,
            small_sweep(task),
            store=isoflop.MemoryStore(),
            executor=_Stopped(),
            progress=False,
        )
    assert (
        "stopped with 1 of 3 runs recorded in the MemoryStore; the same call with it goes on"
        in capsys.readouterr().err
    )


class _Stopped:
    def map(self, work, specs):
        yield work(specs[0])
        raise KeyboardInterrupt


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
import isoflop
from tasks import mlp_task
task = mlp_task()
sweep = isoflop.plan(task, budgets=[1e9], check_rates=None)
isoflop.train(task, sweep, store={store!r}, executor={executor}, progress=False)
"""


@pytest.mark.parametrize(
    "executor", ["None", pytest.param("isoflop.Processes(2)", marks=pytest.mark.slow)]
)
def test_a_signal_in_a_program_is_answered_with_what_is_saved(executor, tmp_path):
    text = PROGRAM.format(
        tests=str(Path(__file__).parents[1]), store=str(tmp_path), executor=executor
    )
    process = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob("*/spec.json")):
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, -signal.SIGINT), errors  # python -c ends with 1
    midway = len(list(tmp_path.glob("*/checkpoint")))
    assert midway >= 1
    assert (
        f"and {midway} saved midway in {tmp_path}; make the same call, or give the same command"
        in errors
    )


def test_the_command_line_tells_failed_runs_by_its_exit_code(tmp_path, monkeypatch, capsys):
    (tmp_path / "failing.py").write_text(
        "import torch, isoflop\n"
        "from tasks import MLP, mlp_task\n"
        "class Failing(MLP):\n"
        "    def forward(self, x):\n"
        "        if self.training and len(x) > 2 and x.device.type == 'cpu': raise RuntimeError('out of luck')\n"
        "        return super().forward(x)\n"
        "task = mlp_task(model=Failing, sizes=[2, 4, 6, 8])\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["train", "failing.py:task", "--store", "runs", "--budget", "3e5"])
    assert left.value.code == 3
    assert "failed with RuntimeError: out of luck" in capsys.readouterr().err


# -- the user's own batch size


@pytest.mark.parametrize(
    ("recipe", "batch_size", "note"),
    [
        (
            {},
            32,
            r"The batch_size=32 of train_data is replaced by the recipe's, \d+ to \d+ examples per step; Recipe\(batch_tokens=32\) keeps it.",
        ),
        (
            {"batch_tokens": 20},
            1,
            r"recipe's, 20 examples per step; Recipe\(batch_tokens=1, min_batch=1\) keeps it.",
        ),
        ({"batch_tokens": 32}, 32, None),
        ({}, None, None),
    ],
)
def test_a_plan_says_that_a_loaders_batch_size_is_replaced(recipe, batch_size, note):
    data = examples(4000)
    task = mlp_task(
        train_data=data
        if batch_size is None
        else DataLoader(data, batch_size=batch_size, shuffle=True),
        recipe=isoflop.Recipe(epochs=None, **recipe),
    )
    notes = [each for each in isoflop.plan(task, budgets=[1e6, 3e6]).notes if "batch_size" in each]
    assert (len(notes) == 0) if note is None else re.search(note, notes[0])
