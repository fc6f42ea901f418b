"""`isoflop train --executor`, `status` and `rerun` as a user types them."""

import json
import sys
from pathlib import Path

import pytest

import isoflop

pytestmark = pytest.mark.usefixtures("warm_python")

TASK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from tasks import MLP, mlp_task


class Fragile(MLP):
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.out.in_features == 1 and self.steps > 50 and Path("broken").exists():
            raise RuntimeError("the disk is full")
        return super().forward(x)


task = mlp_task(model=Fragile, fingerprint="fragile")
"""


@pytest.fixture
def run(run, monkeypatch):
    """Exit code, stdout and stderr of a command in a folder with a task that may fail."""
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    Path("fragile.py").write_text(TASK)
    return run


def test_failed_runs_are_shown_forgotten_and_tried_again(run):
    Path("broken").touch()
    train = ("train", "fragile:task", "--store", "store", "--budget", "1e6")
    code, _, told = run(*train, "--executor", "processes:2")
    assert code == 3
    assert "9 runs: 8 completed, 1 failed." in told
    code, shown, _ = run("status", "store")
    assert code == 0
    assert "9 runs: 8 completed, 1 failed" in shown
    assert "size 1 at 1e+06" in shown
    assert "the disk is full" in shown

    Path("broken").unlink()
    run(*train)
    assert "1 failed" in run("status", "store")[1]  # a record is never replaced by itself
    code, shown, _ = run("rerun", "store")
    assert code == 0
    assert "1 failed run forgotten" in shown
    assert "the disk is full" in shown
    assert "8 completed, 1 waiting" in run("status", "store")[1]

    assert run(*train)[0] == 0
    assert "9 runs: 9 completed" in run("status", "store")[1]
    assert "0 failed runs forgotten" in run("rerun", "store")[1]


def test_a_second_train_on_a_store_prints_what_the_first_printed(run):
    """The plan with its forecast, times and notes, and the runs: all from the store."""
    train = ("train", "fragile:task", "--store", "store", "--budget", "1e6", "--budget", "3e6")
    first, again = run(*train), run(*train)
    assert first[0] == 0
    assert "Expected precision at " in first[1] or "not expected to show a law" in first[1]
    assert "on one worker of this machine" in first[1]
    assert again[:2] == first[:2]


def test_status_and_rerun_speak_json_too(run):
    Path("broken").touch()
    train = ("train", "fragile:task", "--store", "store", "--budget", "1e6")
    run(*train)
    (stage,) = json.loads(run("status", "store", "--json")[1])
    (failed,) = stage["failed"]
    assert (stage["num_runs"], len(stage["ended"]), stage["running"], stage["waiting"]) == (
        9,
        8,
        [],
        [],
    )
    assert {one["status"] for one in stage["ended"]} == {"completed"}
    assert (failed["size"], failed["status"]) == (1, "failed")
    assert "the disk is full" in failed["error"]

    assert json.loads(run("rerun", "store", "--json")[1]) == [failed]
    (stage,) = json.loads(run("status", "store", "--json")[1])
    assert [spec["id"] for spec in stage["waiting"]] == [failed["id"]]
    assert stage["failed"] == json.loads(run("rerun", "store", "--json")[1]) == []


def test_a_run_under_way_is_shown_with_who_trains_it(run):
    store = isoflop.DirectoryStore("store")
    spec = isoflop.RunSpec(num_params=100, num_tokens=2000, flops=1.2e6, budget=1e6, size=4)
    store.write_spec(spec)
    store.write_stage("first", (spec,), {})
    with store.lease(spec.id, "somebody"):
        assert "running   " + spec.id in run("status", "store")[1]
        ((one,),) = [stage["running"] for stage in json.loads(run("status", "store", "--json")[1])]
        assert (one["id"], one["budget"]) == (spec.id, 1e6)
        assert one["holder"] in run("status", "store")[1]
    assert "waiting   1 run at 1e+06" in run("status", "store")[1]


def test_a_store_that_is_not_there_or_empty_is_said(run):
    assert run("status", "nowhere")[0] == 2
    assert "There is no store nowhere" in run("rerun", "nowhere")[2]
    Path("empty").mkdir()
    assert "The store is empty" in run("status", "empty")[1]


def test_an_executor_that_is_none_is_refused(run):
    code, _, errors = run(
        "train", "fragile:task", "--store", "store", "--budget", "1e6", "--executor", "dask"
    )
    assert code == 2
    assert "An executor is named as one of in-process" in errors
    more = ("--executor", "ray", "--processes", "2")
    code, _, errors = run("train", "fragile:task", "--store", "store", "--budget", "1e6", *more)
    assert code == 2
    assert "give one of them" in errors
