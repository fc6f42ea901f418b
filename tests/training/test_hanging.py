"""A run that makes no step is named, and ended as failed where that is asked for; the others go on."""

import os
import signal
import time

import pytest

import isoflop
from isoflop.planning.sweep import Sweep
from isoflop.training import watchdog
from tasks import MLP, mlp_task

pytestmark = pytest.mark.usefixtures("warm_python")


def sleep():
    time.sleep(600)


def spin():
    end = time.monotonic() + 600
    while time.monotonic() < end:
        pass


def swallow():
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except Exception:
            continue


CALLER = os.getpid()


def block():
    """As a call that no signal reaches, in a worker."""
    if os.getpid() == CALLER:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    time.sleep(600)


class Hanging(MLP):
    def __init__(self, width, hang, size):
        super().__init__(width)
        self.hang = hang if width == size else None

    def forward(self, x):
        if self.hang is not None and self.training and x.device.type == "cpu":
            self.hang()
        return super().forward(x)


@pytest.fixture(scope="module")
def sweep():
    task = mlp_task(fingerprint="one", sizes=(4, 8, 16, 32))
    return Sweep(specs=isoflop.plan(task, budgets=[1e6]).specs[:2])


def hanging(sweep, hang):
    kwargs = {"hang": hang, "size": sweep.specs[0].size}
    return mlp_task(model=Hanging, model_kwargs=kwargs, fingerprint="one", sizes=(4, 8, 16, 32))


@pytest.mark.parametrize("hang", [sleep, spin, swallow])
def test_a_run_that_hangs_is_ended_and_recorded_and_the_next_one_trained(hang, sweep):
    store = isoflop.MemoryStore()
    runs = isoflop.train(hanging(sweep, hang), sweep, store=store, progress=False, hang_seconds=1)
    assert [run.status for run in runs] == ["failed", "completed"]
    assert f"no step for 1.0 s, in {hang.__name__}, test_hanging.py line " in runs[0].error
    assert store.read_run(runs[0].id) == runs[0]


def test_the_worker_of_a_run_that_nothing_else_ends_is_ended(sweep, tmp_path, capfd):
    workers = isoflop.Processes(1)
    runs = isoflop.train(
        hanging(sweep, block),
        sweep,
        store=tmp_path,
        executor=workers,
        progress=False,
        hang_seconds=2,
    )
    assert [run.status for run in runs] == ["failed", "completed"]
    assert "no step for 2.0 s, in block" in runs[0].error
    assert "its worker is ended" in capfd.readouterr().err


def test_a_run_without_a_step_is_named_with_the_line_where_it_stands(sweep, monkeypatch, capfd):
    monkeypatch.setattr(watchdog, "REPORT_SECONDS", 0.3)
    waits = iter([0.8])
    task = hanging(sweep, lambda: time.sleep(next(waits, 0)))
    first = Sweep(specs=sweep.specs[:1])
    runs = isoflop.train(task, first, store=isoflop.MemoryStore(), progress=False)
    assert runs[0].status == "completed"
    said = capfd.readouterr().err
    assert f"isoflop: size {runs[0].size} at 1e+06 ({runs[0].id}): no step for " in said
    assert "now in <lambda>, test_hanging.py line" in said
    assert "Ctrl-C twice" in said


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_that_is_no_time_is_refused(seconds, sweep):
    task = mlp_task(fingerprint="one")
    with pytest.raises(isoflop.PlanError, match="hang_seconds must be above 0"):
        isoflop.train(task, sweep, store=isoflop.MemoryStore(), hang_seconds=seconds)
