import os
import sys

import pytest

import isoflop
from isoflop.training.executors.ray import Ray
from isoflop.training.executors.slurm import Slurm


@pytest.fixture(scope="session")
def _ray():
    ray = pytest.importorskip("ray")
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    # Else its workers wait for all else on a busy machine. Ray reads the name as it is written.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    yield ray
    ray.shutdown()


PYTHON = sys.executable


@pytest.fixture
def ray_cluster(_ray, monkeypatch):
    """A cluster of one machine with two CPUs: the same one for all tests, until one has shut it down."""
    monkeypatch.setattr(sys, "executable", PYTHON)  # Ray knows its workers by their process ids
    if not _ray.is_initialized():
        _ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    return _ray


@pytest.fixture
def local_slurm(monkeypatch):
    """submitit waits so long for the result of a job that died, in case the file system is slow."""
    core = pytest.importorskip("submitit.core.core")
    monkeypatch.setattr(core.Job, "_results_timeout_s", 0.5)


@pytest.fixture
def make_executor(request, tmp_path):
    """A function name -> executor; starts what it needs."""

    def make(name):
        if name == "in process":
            return isoflop.InProcess()
        if name == "processes":
            return isoflop.Processes(2)
        if name == "ray":
            request.getfixturevalue("ray_cluster")
            return Ray()
        request.getfixturevalue("local_slurm")
        return Slurm(tmp_path / "jobs", cluster="local", look_seconds=0.05)

    return make
