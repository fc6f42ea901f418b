import subprocess
import sys
import time
from dataclasses import replace

import pytest

import isoflop
from isoflop.training.executors.simulated import Simulated
from isoflop.training.executors.work import TaskWork
from tasks import BUDGETS, mlp_task

LAW = isoflop.ChinchillaLaw(E=1.5, A=30.0, B=60.0, alpha=0.5, beta=0.4)


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=[1e6])


def test_a_task_that_cannot_be_sent_is_refused_with_the_remedy(sweep):
    task = mlp_task(val_data=[*mlp_task().val_data][:5] + [(x for x in range(3))])
    with pytest.raises(isoflop.PlanError, match="cannot be pickled.*InProcess"):
        list(isoflop.Processes(1).map(TaskWork(task, isoflop.MemoryStore()), list(sweep.specs)))


def test_no_worker_is_refused():
    with pytest.raises(
        isoflop.PlanError, match="num_workers must be a whole number from 1 to 10000, but got 0"
    ):
        isoflop.Processes(0)


UNGUARDED = """
import torch, isoflop
from torch import nn
from torch.utils.data import TensorDataset

print("started")

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(4, width), nn.Linear(width, 2)
    def forward(self, x):
        return self.b(self.a(x).relu())

x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
data = TensorDataset(x, (x.sum(1) > 0).long())
recipe = isoflop.Recipe(epochs=None)
task = isoflop.Task(model=Net, size_param="width", train_data=data, val_data=data, loss=nn.CrossEntropyLoss(), recipe=recipe, sizes=[4, 8, 16])
sweep = isoflop.plan(task, budgets=[1e6])
runs = isoflop.train(task, sweep, store={store!r}, executor=isoflop.Processes({workers}))
print(sum(run.status == "completed" for run in runs))
"""


@pytest.mark.parametrize("how", ["script", pytest.param("-c", marks=pytest.mark.slow)])
def test_a_program_without_a_main_guard_trains_classes_of_its_own(how, tmp_path):
    program = UNGUARDED.format(store=str(tmp_path / "store"), workers=1)
    (tmp_path / "program.py").write_text(program)
    arguments = [str(tmp_path / "program.py")] if how == "script" else ["-c", program]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["started", "5"], done.stderr


def test_workers_end_when_their_parent_is_killed(tmp_path):
    program = (
        UNGUARDED.format(store=str(tmp_path / "store"), workers=2)
        .replace("[1e6]", "[1e11]")
        .replace('print("started")', "")
    )
    program = program.replace("sweep = ", "import os\nprint(os.getpid(), flush=True)\nsweep = ")
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    pid = int(parent.stdout.readline())
    children = wait_for(lambda: (found := children_of(pid)) and len(found) >= 2 and found)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not any(is_alive(child) for child in children))


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_a_simulated_run_is_the_law_with_noise_that_depends_on_seed_and_id():
    sweep = isoflop.plan(mlp_task(), budgets=BUDGETS)
    runs = list(Simulated(LAW.loss, noise=0.01, seed=3).map(None, list(sweep.specs)))
    errors = [run.loss / LAW.loss(run.num_params, run.num_tokens) - 1 for run in runs]
    assert 0.005 < (sum(e * e for e in errors) / len(errors)) ** 0.5 < 0.02
    assert runs == list(Simulated(LAW.loss, noise=0.01, seed=3).map(None, list(sweep.specs)))
    assert runs[0].loss != Simulated(LAW.loss, noise=0.01, seed=4).run(sweep.specs[0]).loss
    assert (
        Simulated(LAW.loss).run(replace(sweep.specs[0], seed=9)).loss
        == Simulated(LAW.loss).run(sweep.specs[0]).loss
    )
