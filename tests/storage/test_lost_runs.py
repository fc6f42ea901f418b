"""Runs whose files are lost, beside whole ones, in a fit and on the command line."""

import shutil

import pytest

import isoflop
from attack.stores import make_store
from attack.test_stores import command
from isoflop.user_code.fingerprint import fingerprint
from tasks import mlp_task


@pytest.fixture
def store(tmp_path):
    """A store with a torn record, one whose spec is torn too, and a copied folder."""
    store = make_store(tmp_path / "store", fingerprint(mlp_task()))
    first, second, third, *_ = [run.id for run in store.read_runs()]
    for path in (f"{first}/record.json", f"{second}/record.json", f"{second}/spec.json"):
        (store.path / path).write_text("{")
    shutil.copytree(store.path / third, store.path / "copy")
    return store


def test_a_fit_sets_lost_runs_aside_and_names_their_files(store):
    lost = [
        run for run in store.read_runs() if run.status == "failed" and "cannot be read" in run.error
    ]
    fitted = isoflop.fit(store.read_runs(), isoflop.Parametric(), resamples=20)
    assert len(lost) == 3
    for run in lost:
        assert [note for note in fitted.notes if str(store.path / run.id / "record.json") in note]
    assert len(fitted.runs) == sum(run.status == "completed" for run in store.read_runs())


def test_lost_runs_belong_to_any_task(store):
    mark = fingerprint(mlp_task())
    assert len(isoflop.read_runs(store, fingerprint=mark)) == len(store.read_runs())


def test_lost_runs_do_not_stop_a_plan(store):
    assert isoflop.plan(mlp_task(), target=1e10, spend=1e9, runs=store.read_runs()).specs == ()


@pytest.mark.parametrize("verb", ["report", "compare", "status", "rerun"])
def test_lost_runs_do_not_stop_a_command(store, verb, tmp_path):
    page = ("--target", "1e20", "--path", tmp_path / "page.html")
    arguments = {
        "report": (store.path, *page),
        "compare": (store.path, store.path, "--target", "1e20"),
    }
    command(verb, *arguments.get(verb, (store.path,)))
    assert verb != "report" or "record.json cannot be read" in (tmp_path / "page.html").read_text()
