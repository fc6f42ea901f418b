import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest

import isoflop
from isoflop.runs import Run, RunSpec
from isoflop.storage.atomic import replacing, write_text
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.records import dump_run, load_run
from isoflop.storage.store import MemoryStore, Store

SPEC = RunSpec(num_params=100, num_tokens=2000, flops=1.2e6, budget=1.2e6, size=4, batch=8, lr=0.01)
RUN = Run(
    spec=SPEC,
    status="completed",
    loss=2.345678901234567,
    loss_stderr=0.01,
    curve=((1000.0, 3.0), (2000.0, 2.5)),
    num_tokens=2000,
    flops=1.2e6,
    seconds=1.5,
    device="cpu",
    versions={"torch": "2"},
)


@pytest.fixture(params=["directory", "memory"])
def store(request, tmp_path):
    return DirectoryStore(tmp_path / "store") if request.param == "directory" else MemoryStore()


def test_a_size_of_several_numbers_comes_back_as_it_was():
    run = replace(RUN, spec=replace(SPEC, size=(64, 4)))
    assert load_run(dump_run(run)).size == (64, 4)


def test_a_store_is_one(store):
    assert isinstance(store, Store)


def test_a_recorded_run_comes_back_equal(store):
    store.write_run(RUN)
    assert store.read_run(RUN.id) == RUN
    assert store.read_runs() == [RUN]


def test_metrics_come_back_and_a_record_without_them_says_nothing_of_them(store):
    measured = replace(RUN, metrics={"accuracy": 0.5, "recall": math.nan})
    store.write_run(measured)
    assert store.read_run(RUN.id).metrics["accuracy"] == 0.5
    assert math.isnan(store.read_run(RUN.id).metrics["recall"])
    assert "metrics" not in json.loads(dump_run(RUN))
    assert load_run(dump_run(RUN)).metrics == {}


def test_a_run_that_is_not_there_is_none(store):
    assert store.read_run("0" * 16) is None
    assert store.read_runs() == []


def test_a_stage_comes_back_with_its_notes(store):
    assert store.read_stage("first") is None
    store.write_stage("first", (SPEC,), {"notes": ["careful"]})
    assert store.read_stage("first") == ((SPEC,), {"notes": ["careful"]})


def test_a_curve_is_cut_back_to_the_tokens_of_a_checkpoint(store):
    store.append_curve(SPEC.id, [(1.0, 5.0), (2.0, 4.0)])
    store.append_curve(SPEC.id, [(3.0, 3.0)])
    assert store.cut_curve(SPEC.id, 2.0) == [(1.0, 5.0), (2.0, 4.0)]
    assert store.cut_curve(SPEC.id, 9.0) == [(1.0, 5.0), (2.0, 4.0)]


def test_a_torn_last_line_of_a_curve_is_dropped(tmp_path):
    store = DirectoryStore(tmp_path)
    store.append_curve(SPEC.id, [(1.0, 5.0)])
    with open(tmp_path / SPEC.id / "curve.jsonl", "a") as file:
        file.write("[2.0, 4.")
    assert store.cut_curve(SPEC.id, 9.0) == [(1.0, 5.0)]


def test_files_are_where_the_documentation_says(tmp_path):
    store = DirectoryStore(tmp_path)
    store.write_task({"model": "GPT"})
    store.write_stage("first", (SPEC,), {})
    store.write_spec(SPEC)
    store.checkpoint(SPEC.id).write_bytes(b"state")
    store.write_run(RUN)
    files = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert files == [
        f"{SPEC.id}/curve.jsonl",
        f"{SPEC.id}/record.json",
        f"{SPEC.id}/spec.json",
        "stages/first.json",
        "task.json",
    ]
    assert json.loads((tmp_path / SPEC.id / "record.json").read_text())["schema"] == 1


def test_numbers_that_are_not_finite_are_stored_as_null():
    text = dump_run(replace(RUN, status="diverged", loss=math.nan))
    assert json.loads(text)["loss"] is None
    assert math.isnan(load_run(text).loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 99}', "has schema 99, but this isoflop reads schema 1"),
        (dump_run(RUN).replace('"seconds"', '"secs"'), "does not have the fields of a Run"),
    ],
)
def test_a_record_that_cannot_be_read_says_where_and_what_to_do(tmp_path, text, message):
    write_text(tmp_path / SPEC.id / "record.json", text)
    with pytest.raises(isoflop.StoreError, match=message) as caught:
        DirectoryStore(tmp_path).read_runs()
    assert "Remove the folder" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"schema": 1}', dump_run(RUN)[:-40], "\x00" * 50])
def test_a_torn_record_stops_nothing_but_its_own_run(tmp_path, text):
    store, whole = DirectoryStore(tmp_path), replace(RUN, spec=replace(SPEC, seed=9))
    store.write_spec(SPEC)
    store.write_run(whole)
    write_text(tmp_path / SPEC.id / "record.json", text)
    runs = {run.id: run for run in store.read_runs()}
    assert runs.keys() == {SPEC.id, whole.id}
    assert runs[whole.id].status == "completed"
    assert runs[SPEC.id].status == "failed"
    assert f"{SPEC.id}/record.json: A record is not" in runs[SPEC.id].error
    assert "isoflop rerun has the run trained again" in runs[SPEC.id].error
    store.remove_record(SPEC.id)
    assert store.read_run(SPEC.id) is None


def test_a_run_whose_record_and_spec_are_torn_is_one_that_was_never_trained(tmp_path):
    store = DirectoryStore(tmp_path)
    for name in ("spec.json", "record.json"):
        write_text(tmp_path / SPEC.id / name, '{"schema": 1, "sp')
    assert store.read_run(SPEC.id) is None
    assert store.read_runs() == []
    assert store.read_specs() == []
    store.write_spec(SPEC)
    assert store.read_specs() == [SPEC]


def test_a_failed_run_keeps_its_checkpoint_and_curve_for_another_try(tmp_path):
    store = DirectoryStore(tmp_path)
    store.append_curve(SPEC.id, [(100.0, 2.0)])
    store.checkpoint(SPEC.id).write_bytes(b"state")
    store.write_run(replace(RUN, status="failed", curve=()))
    store.remove_record(SPEC.id)
    assert store.checkpoint(SPEC.id).exists()
    assert store.cut_curve(SPEC.id, 1000) == [(100.0, 2.0)]
    store.write_run(RUN)
    assert not store.checkpoint(SPEC.id).exists()


def test_a_store_in_a_files_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(isoflop.StoreError, match="A store is a folder"):
        DirectoryStore(tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(isoflop.StoreError, match="Cannot write /proc/nowhere"):
        write_text("/proc/nowhere/file", "text")


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = write_text(tmp_path / "file", "old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def _write_forever(path):
    for k in range(10**9):
        write_text(path, json.dumps([k] * 20_000))


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file.json"
    for _ in range(5):
        process = multiprocessing.get_context("fork").Process(target=_write_forever, args=(path,))
        process.start()
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert len(set(json.loads(path.read_text()))) == 1


def test_equal_specs_have_equal_ids_and_any_field_changes_it():
    assert replace(SPEC).id == SPEC.id
    changes = [
        {"lr": 0.02},
        {"seed": 1},
        {"batch": 9},
        {"budget": None},
        {"fingerprint": "x"},
        {"num_tokens": 2001},
    ]
    assert len({SPEC.id, *(replace(SPEC, **change).id for change in changes)}) == 1 + len(changes)
