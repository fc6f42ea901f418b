"""What a run took is on its record, beside what was predicted, and corrects the time left."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import isoflop
from isoflop.runs import Run
from isoflop.training.executors.contract import Progress
from isoflop.training.progress import Display
from tasks import mlp_task


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), budgets=[1e6])


def test_a_record_has_the_whole_time_and_its_prediction(sweep, tmp_path):
    isoflop.train(mlp_task(), sweep, store=tmp_path, progress=False)
    for run in isoflop.read_runs(tmp_path):
        assert run.wall_seconds > run.seconds > 0
        assert run.predicted_seconds == pytest.approx(sweep.seconds[run.id])
        assert run.slowdown == pytest.approx(run.wall_seconds / run.predicted_seconds)


def test_a_time_over_several_devices_has_no_prediction(sweep):
    from isoflop.training.executors.contract import Demand
    from isoflop.training.executors.work import TaskWork

    spec = sweep.specs[0]
    work = TaskWork(
        mlp_task(), isoflop.MemoryStore(), demands={spec.id: Demand(seconds=3.0, num_devices=2)}
    )
    run = work.trained(spec, lambda: None)
    assert run.predicted_seconds is None
    assert run.slowdown is None


def ended(spec):
    return Run(
        spec=spec, status="completed", loss=1.0, num_tokens=spec.num_tokens, flops=spec.flops
    )


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=100.0)
    fake = SimpleNamespace(perf_counter=lambda: made.now)
    monkeypatch.setattr("isoflop.training.progress.time", fake)
    return made


def test_the_time_left_is_the_prediction_times_how_much_it_was_short_by(sweep, clock):
    specs = sweep.specs[:3]
    predicted = dict(zip([spec.id for spec in specs], (10.0, 20.0, 30.0), strict=True))
    display = Display(replace(sweep, specs=specs, seconds=predicted), [])
    assert display.seconds_left() is None
    clock.now += 15.0
    display.finish(ended(specs[0]))  # took 1.5 times as long as predicted
    assert display.seconds_left() == pytest.approx(1.5 * 50)
    clock.now += 15.0
    display.update(Progress(specs[1], specs[1].num_tokens / 2, 1.0))
    assert display.seconds_left() == pytest.approx(1.5 * 40)


def test_runs_recorded_before_do_not_count_as_fast(sweep, clock):
    specs = sweep.specs[:3]
    predicted = dict(zip([spec.id for spec in specs], (10.0, 20.0, 30.0), strict=True))
    display = Display(replace(sweep, specs=specs, seconds=predicted), [ended(specs[0])])
    clock.now += 40.0
    display.finish(ended(specs[1]))
    assert display.seconds_left() == pytest.approx(60)


def test_without_a_prediction_flops_stand_for_time(sweep, clock):
    display = Display(replace(sweep, seconds={}), [])
    clock.now += 10.0
    display.finish(ended(sweep.specs[0]))
    left = 10.0 * (sweep.flops / sweep.specs[0].flops - 1)
    assert display.seconds_left() == pytest.approx(left)
