"""Each run is one run of the tracker, with its spec as the configuration."""

import importlib.util
import os

import pytest

import isoflop
from isoflop.training.runner import train
from tasks import mlp_task


@pytest.fixture
def sweep():
    task = mlp_task(sizes=[4, 8, 16])
    return task, isoflop.plan(task, budgets=[1e6])


def needs(name):
    there = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(
        not there, reason=f"{name} is not installed; pip install 'isoflop[trackers]' or {name}"
    )


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the event reader's own imports
def test_tensorboard_has_the_curve_and_the_final_loss_of_each_run(sweep, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    task, planned = sweep
    runs = train(task, planned, store=tmp_path, progress=False, trackers=["tensorboard"])
    for run in runs:
        events = EventAccumulator(str(tmp_path / "tracking" / run.id))
        events.Reload()
        assert events.Scalars("loss")[-1].value == pytest.approx(run.loss, rel=1e-6)
        seen = [event.value for event in events.Scalars("train_loss")]
        assert seen == pytest.approx([loss for _, loss in run.curve], rel=1e-6)
    assert any((tmp_path / "tracking").rglob("hparams.yml"))


@needs("tensorboard")
def test_a_tracker_changes_no_result(sweep, tmp_path):
    task, planned = sweep
    plain = train(task, planned, store=isoflop.MemoryStore(), progress=False)
    logged = train(task, planned, store=tmp_path, progress=False, trackers=["tensorboard"])
    assert [run.loss for run in plain] == [run.loss for run in logged]


@needs("wandb")
def test_wandb_writes_offline(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    task, planned = sweep
    train(task, planned, store=tmp_path, progress=False, trackers=["wandb"])
    assert len(list(tmp_path.rglob("offline-run-*"))) >= len(planned)


@needs("mlflow")
def test_mlflow_writes_its_runs(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    task, planned = sweep
    train(task, planned, store=tmp_path / "store", progress=False, trackers=["mlflow"])
    assert any((tmp_path / "mlruns").rglob("loss"))


@needs("trackio")
def test_trackio_writes_its_runs(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", os.fspath(tmp_path / "trackio"))
    task, planned = sweep
    train(task, planned, store=tmp_path / "store", progress=False, trackers=["trackio"])
    assert any((tmp_path / "trackio").iterdir())


def test_trackers_that_are_unknown_or_missing_are_refused_before_training(sweep, tmp_path):
    task, planned = sweep
    with pytest.raises(isoflop.ContractError, match="trackers must be among tensorboard"):
        train(task, planned, store=tmp_path, progress=False, trackers=["crayon"])
    missing = next(
        (name for name in ("wandb", "mlflow", "trackio") if importlib.util.find_spec(name) is None),
        None,
    )
    if missing is not None:
        with pytest.raises(isoflop.ContractError, match=f"Tracker '{missing}' must be installed"):
            train(task, planned, store=tmp_path, progress=False, trackers=[missing])
    assert not list(tmp_path.glob("*/record.json"))
