"""Several processes do not change the experiment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import isoflop
from isoflop.planning.sweep import Sweep
from isoflop.training.ranks import current_ranks
from tasks import mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")

PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
import isoflop
from isoflop.planning.sweep import Sweep
from tasks import mlp_task
task = mlp_task()
sweep = Sweep(specs=isoflop.plan(task, budgets=[1e6]).specs[::3])
try:
    isoflop.train(task, sweep, store=sys.argv[1], executor=isoflop.Processes(2), progress=False)
except isoflop.IsoflopError as error:
    print("refused: %s\\n" % error, end="")
runs = isoflop.train(task, sweep, store=sys.argv[1], progress=False)
done = sum(run.status == "completed" for run in runs)
print("%s %s %s\\n" % (os.environ.get("RANK"), len(runs), done), end="")
"""


def run(tmp_path, store, num_processes):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(Path(__file__).parents[1])))
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={num_processes}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*start, str(program), str(store)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    output = run(folder, folder / "store", 2)
    return output, {run.id: run for run in isoflop.read_runs(folder / "store")}


@pytest.fixture(scope="module")
def one():
    return {run.id: run for run in trained_alone(mlp_task())}


def trained_alone(task):
    sweep = Sweep(specs=isoflop.plan(task, budgets=[1e6]).specs[::3])
    return isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)


def test_both_processes_come_back_with_all_runs(two):
    others = ("refused", "[Gloo]")  # of a later question, and of some versions of torch
    lines = [line for line in two[0].splitlines() if not line.startswith(others)]
    assert sorted(lines) == ["0 3 3", "1 3 3"]


def test_two_processes_train_the_same_runs_on_the_same_tokens_to_the_same_loss(one, two):
    assert two[1].keys() == one.keys()
    for run_id, run in two[1].items():
        assert run.num_tokens == one[run_id].num_tokens
        assert run.loss == pytest.approx(one[run_id].loss, rel=1e-4)
        assert run.loss_stderr == pytest.approx(one[run_id].loss_stderr, rel=1e-3)
        assert [point[0] for point in run.curve] == [point[0] for point in one[run_id].curve]
        assert [point[1] for point in run.curve] == pytest.approx(
            [point[1] for point in one[run_id].curve], rel=1e-4
        )
        assert run.device.startswith("2 x cpu")


def test_a_schedule_that_steps_once_per_process_would_change_the_losses_by_far_more(one):
    """What the comparison above would catch: the learning rate falls to zero at half of the run."""
    halved = mlp_task(recipe=isoflop.Recipe(epochs=None, schedule="linear", warmup=0.05))
    pairs = zip(trained_alone(halved), one.values(), strict=True)
    worst = max(abs(run.loss / other.loss - 1) for run, other in pairs)
    assert worst > 1e-3


def test_a_pool_of_workers_is_refused_under_torchrun(two):
    assert two[0].count("refused: Under torchrun all 2 processes train each run together") == 2


def test_one_process_is_the_default():
    ranks = current_ranks()
    assert (ranks.rank, ranks.num_ranks) == (0, 1)
    assert ranks.broadcast(lambda: "me") == "me"
    assert ranks.gathered([1]) == [1]
    assert ranks.summed([2.0]) == [2.0]
