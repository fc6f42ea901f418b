"""What a user's model does to the process ends with its run."""

import decimal
import gc
import logging
import os
import sys
import warnings
from functools import cache

import numpy as np
import pytest
import torch

import isoflop
from isoflop.planning.sweep import Sweep
from isoflop.user_code.isolation import contained, kept
from tasks import MLP, mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")

SETTERS = {
    "no gradients": lambda: torch.set_grad_enabled(False),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "threads": lambda: torch.set_num_threads(2),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "denormals": lambda: torch.set_flush_denormal(True),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "numpy errors": lambda: np.seterr(all="raise"),
    "folder": lambda: os.chdir("/"),
    "environment": lambda: os.environ.update(OMP_NUM_THREADS="7", A_NEW_NAME="1"),
    "path": lambda: sys.path.insert(0, "/somewhere"),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "recursion": lambda: sys.setrecursionlimit(5000),
    "garbage": lambda: gc.disable(),
    "logging": lambda: logging.disable(logging.CRITICAL),
    "output": lambda: setattr(sys, "stdout", None),
}
NUM_EVALUATED = 500


def state():
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "denormal": (torch.full((), 1e-310, dtype=torch.float64) / 2).item(),
        "anomaly": torch.is_anomaly_enabled(),
        "cudnn": torch.backends.cudnn.deterministic,
        "flash": torch.backends.cuda.flash_sdp_enabled(),
        "numpy": np.geterr(),
        "folder": os.getcwd(),
        "environment": {**os.environ, "PYTEST_CURRENT_TEST": ""},
        "path": list(sys.path),
        "warnings": list(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "garbage": gc.isenabled(),
        "logging": logging.root.manager.disable,
        "output": sys.stdout,
    }


class Setter(MLP):
    """Sets something in the process at the end of its evaluation, and when it is tried: it would meet the next run."""

    def __init__(self, width, name):
        super().__init__(width)
        self.name, self.num_evaluated = name, 0

    def forward(self, x):
        outputs = super().forward(x)
        if not self.training and x.device.type == "cpu":
            self.num_evaluated += len(x)
            if self.num_evaluated == NUM_EVALUATED or (
                len(x) == 1 and self.name != "default device"
            ):
                SETTERS[self.name]()
        return outputs


@cache
def plain():
    task = mlp_task(fingerprint="one", sizes=(4, 8, 16, 32))
    sweep = Sweep(specs=isoflop.plan(task, budgets=[1e6]).specs[:2])
    runs = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    return sweep, [run.loss for run in runs]


@pytest.mark.parametrize("name", SETTERS)
def test_what_a_model_sets_reaches_neither_the_next_run_nor_the_caller(name, tmp_path, monkeypatch):
    sweep, losses = plain()
    monkeypatch.chdir(tmp_path)
    task = mlp_task(
        model=Setter, model_kwargs={"name": name}, fingerprint="one", sizes=(4, 8, 16, 32)
    )
    before = state()
    specs = isoflop.plan(task, budgets=[1e6]).specs
    assert state() == before
    assert {spec.id for spec in sweep.specs} < {spec.id for spec in specs}
    runs = isoflop.train(task, sweep, store="store", progress=False)
    assert state() == before
    assert [run.loss for run in runs] == losses
    assert [run.loss for run in isoflop.read_runs(tmp_path / "store")] == [
        run.loss for run in sorted(runs, key=lambda run: run.id)
    ]


def test_a_store_and_a_page_stay_where_they_were_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = isoflop.DirectoryStore("store")
    os.chdir("/")
    assert store.path == tmp_path / "store"


def test_runs_are_trained_where_the_caller_has_no_gradients():
    sweep, losses = plain()
    task = mlp_task(fingerprint="one", sizes=(4, 8, 16, 32))
    with torch.no_grad():
        assert {spec.id for spec in sweep.specs} < {
            spec.id for spec in isoflop.plan(task, budgets=[1e6]).specs
        }
        runs = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    assert [run.loss for run in runs] == losses


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Doubled(MLP):
    def forward(self, x):
        return super().forward(x.to(self.out.weight.dtype))


def test_what_the_caller_sets_is_another_task_and_reaches_workers(request, tmp_path):
    single = isoflop.fingerprint(mlp_task(model=Doubled))
    request.getfixturevalue("double_precision")
    task = mlp_task(model=Doubled)
    assert isoflop.fingerprint(task) != single
    sweep = Sweep(specs=isoflop.plan(task, budgets=[1e6]).specs[:1])
    here = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    there = isoflop.train(
        task, sweep, store=tmp_path, executor=isoflop.Processes(1), progress=False
    )
    assert [run.loss for run in there] == [run.loss for run in here]


class Stop(BaseException):
    pass


def leave_with(error):
    raise error


ENDS = {
    "sys.exit": lambda: sys.exit("enough"),
    "exit code 0": lambda: sys.exit(0),
    "exit code 75": lambda: sys.exit(75),
    "KeyboardInterrupt": lambda: leave_with(KeyboardInterrupt("enough")),
    "GeneratorExit": lambda: leave_with(GeneratorExit("enough")),
    "an own exception": lambda: leave_with(Stop("enough")),
}


class Ending(MLP):
    def __init__(self, width, name, size):
        super().__init__(width)
        self.end = ENDS[name] if width == size else None

    def forward(self, x):
        if self.end is not None and self.training and x.device.type == "cpu":
            self.end()
        return super().forward(x)


@pytest.mark.parametrize("name", ENDS)
def test_a_model_that_ends_the_program_is_a_failed_run(name):
    sweep, losses = plain()
    kwargs = {"name": name, "size": sweep.specs[0].size}
    task = mlp_task(model=Ending, model_kwargs=kwargs, fingerprint="one", sizes=(4, 8, 16, 32))
    runs = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    assert [run.status for run in runs] == ["failed", "completed"]
    assert runs[1].loss == losses[1]
    assert "line" in runs[0].error


class Picky(MLP):
    def __init__(self, width):
        if width % 4:
            sys.exit("width must be divisible by 4")
        super().__init__(width)


def test_a_model_that_ends_the_program_at_a_size_does_not_have_that_size():
    sizes = {spec.size for spec in isoflop.plan(mlp_task(model=Picky), budgets=[1e6]).specs}
    assert len(sizes) >= 3
    assert all(size % 4 == 0 for size in sizes)


def test_ends_are_contained_and_settings_kept_also_after_an_error():
    before = state()
    with pytest.raises(RuntimeError, match=r"sys.exit\(3\)"), contained():
        torch.set_default_dtype(torch.float16)
        sys.exit(3)
    with pytest.raises(decimal.InvalidOperation), kept():
        os.chdir("/")
        decimal.Decimal("x")
    assert state() == before
