import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import promises
import pytest
import torch
from light_work import Alone, Light, Named

import isoflop
from isoflop.counting import cores
from isoflop.counting.cores import num_cores
from isoflop.training.executors.contract import Demand, longest_first
from isoflop.training.executors.devices import GPU_VARIABLE, visible_gpus


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setenv(GPU_VARIABLE, "GPU-a, GPU-b")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_what_a_worker_imports_first_does_not_load_torch():
    code = "import sys, isoflop.training.executors.worker; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "False False\n"
    )


def test_each_worker_is_told_its_gpu_and_its_threads(two_gpus):
    runs = list(isoflop.Processes(num_threads=3).map(Named(), list(promises.specs())))
    assert {run.device for run in runs} == {"GPU-a 3", "GPU-b 3"}


def test_tiny_runs_share_a_gpu(two_gpus):
    specs = [*promises.specs(), promises.long_spec()]
    runs = list(isoflop.Processes(runs_per_device=2).map(Named(), specs))
    assert sorted(run.device.split()[0] for run in runs) == ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]


def test_gpus_are_those_that_the_caller_may_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(GPU_VARIABLE, raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv(GPU_VARIABLE, "3,5")
    assert visible_gpus() == ["3", "5"]
    monkeypatch.setenv(GPU_VARIABLE, "")  # the user hides them all
    assert visible_gpus() == []


def test_the_environment_of_the_caller_is_left_alone(monkeypatch):
    monkeypatch.setenv(GPU_VARIABLE, "")
    before, main = dict(os.environ), dict(vars(sys.modules["__main__"]))
    list(isoflop.Processes(1).map(Named(), [promises.specs()[0]]))
    assert dict(os.environ) == before
    assert vars(sys.modules["__main__"]) == main


def test_cores_are_those_of_the_container(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cores._quota(tmp_path / "cpu.max") == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores._quota(tmp_path / "cpu.max") is None
    assert cores._quota(tmp_path / "nowhere") is None
    assert 1 <= num_cores() <= os.cpu_count()


@dataclass(frozen=True)
class Planned:
    demands: dict


def test_runs_go_longest_first_by_time_where_it_is_known_else_by_flops():
    specs = list(promises.specs())
    seconds = {spec.id: Demand(seconds=k) for k, spec in enumerate(specs)}
    assert longest_first(Planned(seconds), specs) == specs[::-1]
    seconds[specs[0].id] = Demand()
    by_flops = sorted(specs, key=lambda spec: -spec.flops)
    assert longest_first(Planned(seconds), specs) == longest_first(Planned({}), specs) == by_flops


def test_a_worker_that_dies_while_it_has_nothing_to_do_costs_no_run_a_try():
    runs = isoflop.Processes(1, retries=0).map(Alone(), list(promises.specs()))
    first = next(runs)
    os.kill(int(first.device), signal.SIGKILL)
    time.sleep(0.5)
    assert [run.status for run in runs] == ["completed", "completed"]


def test_a_task_that_kills_every_worker_that_loads_it_is_an_error_not_sixty_failed_runs():
    class Deadly(Light):
        def __call__(self, spec):
            raise AssertionError

        def __reduce__(self):
            return eval, ("__import__('os').kill(__import__('os').getpid(), 9)",)

    with pytest.raises(
        isoflop.PlanError, match="3 worker processes in a row died while they loaded the task.*-9"
    ):
        list(isoflop.Processes(1).map(Deadly(), list(promises.specs())))


def test_a_task_that_cannot_be_loaded_is_an_error():
    class Missing(Light):
        def __call__(self, spec):
            raise AssertionError

        def __reduce__(self):
            return eval, ("__import__('no_such_module')",)

    with pytest.raises(isoflop.PlanError, match="cannot load the task: ModuleNotFoundError"):
        list(isoflop.Processes(1).map(Missing(), list(promises.specs())))


def test_no_specs_are_no_runs():
    for executor in (isoflop.Processes(2), isoflop.Ray(), isoflop.Slurm()):
        assert list(executor.map(Alone(), [])) == []
