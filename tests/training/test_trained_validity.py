"""The gate on runs that were really trained."""

from dataclasses import replace

import pytest

import isoflop
from isoflop.fitting.screening.validity import invalid
from isoflop.training import step
from isoflop.training.loop import train_model
from isoflop.training.schedule import lr_factor
from tasks import mlp_task


@pytest.fixture(scope="module")
def trained():
    rule = isoflop.PowerRule(0.3, num_params=-0.31)
    task = mlp_task(recipe=isoflop.Recipe(epochs=None, lr=rule))
    sweep = isoflop.plan(task, budgets=[3e6, 1e7, 3e7])
    return task, isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)


def replaced(runs, index, run):
    return [*runs[:index], run, *runs[index + 1 :]]


def test_a_clean_sweep_raises_no_alarm(trained):
    assert invalid(trained[1]) == {}


@pytest.mark.parametrize("index", [5, 13])  # of the cheapest budget and of the middle one
def test_a_learning_rate_ten_times_too_high_is_found(trained, index):
    task, runs = trained
    spec = runs[index].spec
    run = train_model(task, replace(spec, lr=10 * spec.lr), isoflop.MemoryStore())
    # The record does not tell: what is found is the curve.
    found = invalid(replaced(runs, index, replace(run, spec=spec)))
    assert list(found) == [spec.id]
    assert "from the others' shape" in found[spec.id]


def test_a_spiked_end_is_found(trained, monkeypatch):
    task, runs = trained
    spiked = lambda kind, warmup, place, length, *rest: (  # noqa: E731
        20.0 if place > 0.96 * length else lr_factor(kind, warmup, place, length, *rest)
    )
    monkeypatch.setattr(step, "lr_factor", spiked)
    run = train_model(task, runs[12].spec, isoflop.MemoryStore())
    assert list(invalid(replaced(runs, 12, run))) == [run.id]


def test_a_run_stopped_at_60_percent_that_claims_all_its_tokens_is_found(trained):
    runs = trained[1]
    curve = tuple(point for point in runs[12].curve if point[0] <= 0.6 * runs[12].num_tokens)
    assert list(invalid(replaced(runs, 12, replace(runs[12], curve=curve)))) == [runs[12].id]
