"""Awkward runs on two processes: the losses of one process, and the same errors on both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import isoflop
import rank_cases
from isoflop.storage.directory import DirectoryStore
from isoflop.training.executors.contract import BrokenDevice
from isoflop.training.executors.stored_work import failed_run
from isoflop.training.executors.work import TaskWork
from isoflop.training.retries import LeftAlone

pytestmark = pytest.mark.usefixtures("warm_python")

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder):
    """By rank: the results of all cases."""
    for name in ("plain", "sharded"):
        rank_cases.begin("blocks", folder / f"to-{name}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(TESTS / "rank_cases.py"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "so the resumed run reads from its start" not in done.stderr
    assert done.stderr.count("Each process builds the whole model in main memory") == 2
    assert "as its constructor needs the values of parameters (" in done.stderr
    assert "as it has other parts without the values" in done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return {int(rank): json.loads(text) for _, rank, text in lines}


@pytest.mark.parametrize("name", sorted(rank_cases.CASES.keys() - {"broken"}))
def test_losses_are_those_of_one_process(two, name):
    one = rank_cases.summary(rank_cases.trained(name))
    assert one["status"] == "completed", one
    for results in two.values():
        both = results[name]
        assert both["status"] == "completed", both
        assert both["num_tokens"] == one["num_tokens"]
        assert both["loss"] == pytest.approx(one["loss"], rel=5e-7)
        assert [loss for _, loss in both["curve"]] == pytest.approx(
            [loss for _, loss in one["curve"]], rel=5e-7
        )


def test_a_parameter_that_no_process_uses_has_no_gradient_and_no_weight_decay(two):
    assert [results["untouched"] for results in two.values()] == [True, True]


def test_an_error_in_one_backward_pass_fails_the_run_on_both(two):
    assert two[1]["broken"]["status"] == two[0]["broken"]["status"] == "failed"
    assert "ValueError: my layer" in two[1]["broken"]["error"]
    assert "Another process failed at this step" in two[0]["broken"]["error"]


@pytest.fixture(scope="module")
def one():
    return rank_cases.trained("blocks").loss


def test_a_sharded_run_has_the_loss_of_one_process(two, one):
    assert two[0]["sharded"]["status"] == "completed", two[0]["sharded"]
    assert two[0]["sharded"]["loss"] == pytest.approx(one, rel=1e-4)
    assert two[1]["sharded"]["loss"] == two[0]["sharded"]["loss"]


@pytest.mark.parametrize("name", ["tied", "reading", "loose"])
def test_a_sharded_run_has_the_parameters_and_buffers_of_one_process(two, name):
    alone = rank_cases.trained(name).loss
    for results in two.values():
        assert results[f"sharded-{name}"]["status"] == "completed", results[f"sharded-{name}"]
        assert results[f"sharded-{name}"]["loss"] == pytest.approx(alone, rel=1e-4)


def test_only_the_first_process_builds_a_sharded_model_unless_its_constructor_needs_values(two):
    names = ("sharded", "sharded-tied", "sharded-reading", "sharded-loose")
    built = [[two[rank][name]["num_built"] for name in names] for rank in (0, 1)]
    assert built == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_sharding_halves_weights_and_optimiser_states(two):
    for results in two.values():
        whole, parted = results["bytes"]
        assert parted == whole / 2


@pytest.mark.parametrize(("name", "tolerance"), [("plain", 5e-7), ("sharded", 1e-4)])
def test_a_run_begun_on_one_process_goes_on_on_two(two, one, name, tolerance):
    assert two[0][f"to-{name}"]["status"] == "completed", two[0][f"to-{name}"]
    assert two[0][f"to-{name}"]["loss"] == pytest.approx(one, rel=tolerance)


@pytest.mark.parametrize(("name", "tolerance"), [("plain", 5e-7), ("sharded", 1e-4)])
def test_a_run_begun_on_two_processes_goes_on_on_one(two, one, folder, name, tolerance):
    store = DirectoryStore(folder / f"from-{name}")
    spec = rank_cases.prepared("blocks")[1]
    assert store.checkpoint(spec.id).exists()
    assert rank_cases.trained("blocks", store).loss == pytest.approx(one, rel=tolerance)


def test_a_sharded_run_with_too_few_examples_fails_on_both_with_the_remedy(two):
    for results in two.values():
        assert results["sharded-empty"]["status"] == "failed"
        assert (
            "1 of 2 had none at step 1; take fewer processes" in results["sharded-empty"]["error"]
        )


def test_a_process_that_leaves_a_sharded_step_ends_the_program():
    task, spec = rank_cases.prepared("blocks")
    work = TaskWork(task, isoflop.MemoryStore())
    error = LeftAlone(ValueError("my layer"))
    with pytest.raises(BrokenDevice, match="my layer. The weights are sharded.*last checkpoint"):
        work.device_failed(failed_run(spec, error), error)
