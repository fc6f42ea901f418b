import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import promises
import pytest
from light_work import Light

import isoflop
from isoflop.training.executors.contract import Demand
from isoflop.training.executors.placement import GIBIBYTE, gpu_share, memory_class
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.ray_worker import Mailbox, _call
from isoflop.training.executors.work import TaskWork
from tasks import mlp_task


def test_tiny_runs_share_a_gpu_and_large_ones_have_it_alone():
    gpu = 80e9
    assert gpu_share(Demand(memory_bytes=1e8), gpu) == 1 / 8
    assert gpu_share(Demand(memory_bytes=15e9), gpu) == 1 / 4
    assert gpu_share(Demand(memory_bytes=40e9), gpu) == 1
    assert gpu_share(Demand(memory_bytes=300e9), gpu) == 1
    assert gpu_share(Demand(memory_bytes=1e8), None) == gpu_share(Demand(), gpu) == 1


def test_runs_ask_for_memory_in_few_sizes_and_never_for_more_than_a_node_has():
    assert memory_class(Demand(), 1e12) == memory_class(Demand(memory_bytes=1e8), 1e12) == 0
    assert memory_class(Demand(memory_bytes=3e9), 1e12) == 4 * GIBIBYTE
    assert memory_class(Demand(memory_bytes=1e13), 1e10) == int(1e10)


@pytest.mark.parametrize("devices", [0, -1, 1.5])
def test_a_number_of_devices_that_makes_no_sense_is_refused(devices):
    with pytest.raises(
        isoflop.PlanError, match="devices_per_run must be a share up to 1 or a whole number"
    ):
        Ray(devices_per_run=devices)


def test_a_missing_package_is_one_sentence_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        isoflop.InstallError,
        match=r"needs the package ray, which is not installed; run: pip install 'isoflop\[ray\]'",
    ):
        list(Ray().map(lambda spec: None, [promises.specs()[0]]))


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch):
    def init(*arguments, **options):
        raise ConnectionError("timeout")

    monkeypatch.setitem(
        sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init)
    )
    with pytest.raises(
        isoflop.IsoflopError, match="no Ray cluster to connect to at ray://nowhere:10001 .timeout."
    ):
        list(Ray("ray://nowhere:10001").map(lambda spec: None, [promises.specs()[0]]))


def test_naming_an_executor_loads_neither_ray_nor_submitit_nor_torch():
    code = "import sys, isoflop; isoflop.Ray(), isoflop.Slurm(), isoflop.Processes(2); "
    code += "print(*[m for m in ('ray', 'submitit', 'torch') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "\n"
    )


def test_processes_of_one_run_find_each_other_and_train_it_together(ray_cluster, tmp_path):
    store = isoflop.DirectoryStore(tmp_path)
    seen = []
    work = TaskWork(mlp_task(), store, seen.append)
    spec = promises.specs()[2]
    spec = replace(spec, num_tokens=20 * spec.batch)  # at each step both wait for the other
    (run,) = Ray(devices_per_run=2).map(work, [spec])
    assert run.device.startswith("2 x cpu")
    alone = TaskWork(mlp_task(), isoflop.MemoryStore())(spec)
    assert run.loss == pytest.approx(alone.loss, abs=1e-6)
    assert store.read_run(run.id) == run
    assert seen


def test_a_run_keeps_its_cpus_while_it_asks_whether_to_stop(ray_cluster):
    class SlowMailbox(Mailbox):
        def is_stopping(self):
            time.sleep(0.8)
            return False

    mailbox = ray_cluster.remote(SlowMailbox).options(num_cpus=0).remote()

    def ask(mailbox):
        begin = time.monotonic()
        _call(mailbox.is_stopping)
        return begin, time.monotonic()

    each = ray_cluster.remote(lambda seconds: time.sleep(seconds)).options(num_cpus=1)
    ray_cluster.get([each.remote(0.5) for _ in range(2)])  # so that a second worker is there
    task = ray_cluster.remote(ask).options(num_cpus=2)
    spans = sorted(ray_cluster.get([task.remote(mailbox) for _ in range(2)]))
    ray_cluster.kill(mailbox)
    assert spans[0][1] <= spans[1][0]


@dataclass(frozen=True)
class Noted(Light):
    """Work that notes when it is begun, by whom, and when it has ended; each run takes a while."""

    work: TaskWork
    folder: str
    seconds: float

    def __call__(self, spec):
        self.note(spec, "begun")
        run = self.work(spec)
        time.sleep(self.seconds)
        self.note(spec, "ended")
        return run

    def note(self, spec, what):
        with open(os.path.join(self.folder, "notes"), "a") as file:
            file.write(f"{what} {spec.id} {os.getpid()} {os.environ.get('RAY_NODE', '')}\n")


def notes(folder, what):
    path = folder / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [line[1:] for line in lines if line[0] == what]


def process_under_way(folder, seconds=30):
    """Of the run that was begun last, once one has not ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended = {line[0] for line in notes(folder, "ended")}
        if under_way := [line for line in notes(folder, "begun") if line[0] not in ended]:
            return int(under_way[-1][1])
        time.sleep(0.01)
    raise AssertionError("no run was under way")


@pytest.fixture
def three_nodes(monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    ray.shutdown()
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cluster = Cluster(
        initialize_head=True, connect=True, head_node_args={"num_cpus": 1}
    )  # the caller is on the head
    nodes = [cluster.add_node(num_cpus=1, env_vars={"RAY_NODE": str(k)}) for k in (1, 2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_on_three_nodes_a_killed_worker_and_a_killed_node_cost_their_runs_nothing_but_time(
    three_nodes, tmp_path
):
    cluster, nodes = three_nodes
    specs = list(isoflop.plan(mlp_task(), budgets=[1e6, 3e6]).specs)
    expected = {
        run.id: run.loss
        for run in isoflop.InProcess().map(TaskWork(mlp_task(), isoflop.MemoryStore()), specs)
    }
    store = isoflop.DirectoryStore(tmp_path / "store")
    work = Noted(TaskWork(mlp_task(), store), str(tmp_path), 0.5)
    runs = []
    for run in Ray(retries=2).map(work, specs):
        runs.append(run)
        if len(runs) == 3:
            os.kill(process_under_way(tmp_path), signal.SIGKILL)
        if len(runs) == 6:
            cluster.remove_node(nodes[0])
    assert sorted(run.id for run in runs) == sorted(expected)
    assert {run.id: run.loss for run in runs} == expected
    assert {run.id: run.loss for run in store.read_runs()} == expected
    ended = [line[0] for line in notes(tmp_path, "ended")]
    assert len(ended) - len(set(ended)) <= 2, (
        "only what died after it was recorded is looked up again"
    )
    assert len(notes(tmp_path, "begun")) <= len(specs) + 2
    assert not list((tmp_path / "store").glob("*/lease-*"))


PROGRAM = """
import sys, ray
sys.path.insert(0, {tests!r})
import isoflop
from tasks import mlp_task
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
task = mlp_task()
isoflop.train(task, isoflop.plan(task, budgets=[1e6, 3e6]), store={store!r}, executor=isoflop.Ray(), progress=False)
"""


@pytest.mark.slow
def test_what_a_killed_program_left_is_finished_by_the_next(tmp_path):
    task, store = mlp_task(), tmp_path / "store"
    text = PROGRAM.format(tests=str(Path(__file__).parents[2]), store=str(store))
    with subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as program:
        while program.poll() is None and len(list(store.glob("*/record.json"))) < 2:
            time.sleep(0.005)
        program.kill()
    sweep = isoflop.plan(task, budgets=[1e6, 3e6])
    runs = isoflop.train(task, sweep, store=store, progress=False)
    expected = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    assert [run.loss for run in runs] == [run.loss for run in expected]
