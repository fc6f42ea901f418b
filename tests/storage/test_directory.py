import errno
import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest

import isoflop
from isoflop.storage.atomic import replacing, write_text
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.records import dump_run, dump_spec, load_run
from storage.store_contract import RUN, SPEC


def loaded(run):
    return load_run(dump_run(run).encode(), run.id)


def test_a_torn_last_line_of_a_curve_is_dropped(tmp_path):
    store = DirectoryStore(tmp_path)
    store.append_curve(SPEC.id, [(1.0, 5.0)])
    with open(tmp_path / SPEC.id / "curve.jsonl", "a") as file:
        file.write("[2.0, 4.")
    assert store.cut_curve(SPEC.id, 9.0) == [(1.0, 5.0)]


def test_what_stands_in_place_of_a_curve_is_set_aside_when_the_curve_goes_on(tmp_path, capsys):
    store, path = DirectoryStore(tmp_path), tmp_path / SPEC.id / "curve.jsonl"
    path.mkdir(parents=True)
    assert store.cut_curve(SPEC.id, 9.0) == []
    assert "curve.jsonl cannot be read: it is a folder; it is now" in capsys.readouterr().err
    store.append_curve(SPEC.id, [(1.0, 5.0)])
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
    diverged = replace(RUN, status="diverged", loss=math.nan)
    assert json.loads(dump_run(diverged))["loss"] is None
    assert math.isnan(loaded(diverged).loss)


def test_losses_of_a_curve_that_are_not_finite_are_stored_as_null(tmp_path):
    store, run = DirectoryStore(tmp_path), replace(RUN, curve=((1.0, 3.0), (2.0, math.inf)))
    store.write_run(run)
    assert (tmp_path / RUN.id / "curve.jsonl").read_text() == "[1.0, 3.0]\n[2.0, null]\n"
    (known, lost) = store.read_run(RUN.id).curve
    assert known == (1.0, 3.0)
    assert math.isnan(lost[1])


OTHER = replace(RUN, spec=replace(SPEC, seed=9))
HAND = {name: value for name, value in json.loads(dump_run(RUN)).items() if name != "digest"}
"""A record as a hand leaves it: without the digest that its other values would have to fit."""


def by_hand(**changes):
    return json.dumps({**HAND, **changes}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"{", "it is no JSON"),
        (b"{}", "it holds {}, not what isoflop writes"),
        (dump_run(RUN)[:-40].encode(), "it is no JSON"),
        (dump_run(RUN).replace("cpu", "c\xffu").encode("latin-1"), "is no UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"schema": 99}', "it has schema 99, but this isoflop reads schema 1"),
        (
            dump_run(RUN).replace("2.345", "1.345").encode(),
            "its contents have changed: they do not match",
        ),
        (dump_run(OTHER).encode(), f"it is of the run {OTHER.id}"),
        (by_hand(secs=1.0), "its record has 'secs', which isoflop does not write"),
        (
            json.dumps({name: value for name, value in HAND.items() if name != "loss"}).encode(),
            "its record has no 'loss'",
        ),
        (by_hand(loss="2.3"), "its loss is '2.3'"),
        (by_hand(loss=True), "its loss is True"),
        (by_hand(loss=10**400), "its loss is 1000"),
        (by_hand(loss=math.nan), "NaN is no JSON number"),
        (by_hand(status="done"), "its status is 'done'"),
        (by_hand(status=["completed"]), "its status is ['completed']"),
        (by_hand(num_tokens=0), "must have num_tokens and flops above 0"),
        (by_hand(device="\ud800"), r"its device is '\ud800'"),
        (by_hand(metrics={"accuracy": "high"}), "its metrics is {'accuracy': 'high'}"),
        (by_hand(spec=None), "its spec is None"),
        (by_hand(spec={**HAND["spec"], "lr": 0.02}), "it is of the run"),
        (by_hand(spec={**HAND["spec"], "num_params": -5}), "its num_params is -5"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_spoilt_record_stops_nothing_but_its_own_run(tmp_path, data, reason):
    store, whole, path = DirectoryStore(tmp_path), OTHER, tmp_path / SPEC.id / "record.json"
    store.write_spec(SPEC)
    store.write_run(whole)
    path.write_bytes(data)
    runs = {run.id: run for run in store.read_runs()}
    assert runs.keys() == {SPEC.id, whole.id}
    assert runs[whole.id] == whole
    spoilt = runs[SPEC.id]
    assert (spoilt.status, spoilt.spec) == ("failed", SPEC)
    assert spoilt.error.startswith(f"{path} cannot be read: ")
    assert reason in spoilt.error
    assert spoilt.error.endswith("; isoflop rerun sets it aside")
    store.remove_record(SPEC.id)
    assert store.read_run(SPEC.id) is None
    assert path.with_name("record.json.unreadable").read_bytes() == data


def test_a_record_that_a_hand_has_changed_counts_without_its_digest(tmp_path):
    store = DirectoryStore(tmp_path)
    store.write_run(RUN)
    (tmp_path / RUN.id / "record.json").write_bytes(by_hand(loss=2.5))
    assert store.read_run(RUN.id) == replace(RUN, loss=2.5)


def test_a_digit_of_a_record_that_changes_is_found(tmp_path):
    store = DirectoryStore(tmp_path)
    store.write_run(RUN)
    path = tmp_path / RUN.id / "record.json"
    data = path.read_bytes()
    for at, letter in enumerate(data):
        if chr(letter).isdigit():
            path.write_bytes(data[:at] + bytes([letter ^ 1]) + data[at + 1 :])
            assert store.read_run(RUN.id).status == "failed"


def test_a_run_whose_record_and_spec_are_both_lost_is_still_named(tmp_path, capsys):
    store, folder = DirectoryStore(tmp_path), tmp_path / SPEC.id
    for name in ("spec.json", "record.json"):
        write_text(folder / name, '{"schema": 1, "sp')
    (lost,) = store.read_runs()
    assert lost.id == SPEC.id
    assert math.isnan(lost.num_params)
    assert "record.json cannot be read" in lost.error
    assert store.read_specs() == []
    store.write_spec(SPEC)
    assert "spec.json cannot be read" in capsys.readouterr().err
    assert (folder / "spec.json.unreadable").read_text() == '{"schema": 1, "sp'
    assert store.read_specs() == [SPEC]
    assert store.read_run(SPEC.id).spec == SPEC


@pytest.mark.parametrize("harm", ["cut", "digit", "letter", "byte", "folder", "pipe"])
def test_a_spoilt_curve_sets_its_run_aside_until_rerun_does_without_it(tmp_path, harm):
    store, path = DirectoryStore(tmp_path), tmp_path / RUN.id / "curve.jsonl"
    store.write_run(RUN)
    store.write_run(OTHER)
    data = path.read_bytes()
    path.unlink()
    if harm == "folder":
        path.mkdir()
    elif harm == "pipe":
        os.mkfifo(path)
    else:
        other = {
            "cut": data[:-6],
            "digit": data.replace(b"3", b"4"),
            "letter": b'["a", 2]\n',
            "byte": b"\xff" + data,
        }
        path.write_bytes(other[harm])
    spoilt = store.read_run(RUN.id)
    assert spoilt.status == "failed"
    assert spoilt.error.startswith(f"{path} cannot be read: ")
    store.remove_record(RUN.id)
    assert store.read_run(RUN.id) == replace(RUN, curve=())
    assert store.read_run(OTHER.id) == OTHER


def test_a_failed_run_may_have_a_torn_curve(tmp_path):
    store = DirectoryStore(tmp_path)
    store.write_run(replace(RUN, status="failed", loss=math.nan))
    (tmp_path / RUN.id / "curve.jsonl").write_text("[1.0, 3.0]\n[2.0")
    assert store.read_run(RUN.id).curve == ((1.0, 3.0),)


def test_a_copy_of_a_run_under_another_name_does_not_count_twice(tmp_path):
    store = DirectoryStore(tmp_path)
    store.write_run(RUN)
    shutil.copytree(tmp_path / RUN.id, tmp_path / f"{RUN.id} copy")
    own, copy = store.read_runs()
    assert own == RUN
    assert (copy.status, copy.id) == ("failed", f"{RUN.id} copy")
    assert f"it is of the run {RUN.id}" in copy.error


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_stands_in_place_of_a_runs_folder_is_named_and_can_be_set_aside(tmp_path, kind):
    store, path = DirectoryStore(tmp_path), tmp_path / RUN.id
    store.write_run(OTHER)
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("/nowhere/at/all")
    (tmp_path / "README").write_text("no run's name")
    spoilt = store.read_run(RUN.id)
    assert str(path) in spoilt.error
    assert len(store.read_runs()) == 2
    while path.is_symlink() or path.exists():
        store.remove_record(RUN.id)
    assert [run.status for run in store.read_runs()] == ["completed"]


def test_a_record_that_may_not_be_opened_is_named_and_left_where_it_is(tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path)
    store.write_run(RUN)
    store.write_run(OTHER)
    opened = os.open

    def refused(path, *args, **kwargs):
        if str(path).endswith(f"{RUN.id}/record.json"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refused)
    assert (
        "record.json cannot be read: permission denied; make it readable"
        in store.read_run(RUN.id).error
    )
    assert store.read_run(OTHER.id) == OTHER
    with pytest.raises(
        isoflop.StoreError, match="permission denied; make it readable, or remove it"
    ):
        store.remove_record(RUN.id)
    monkeypatch.undo()
    assert store.read_runs() == sorted([RUN, OTHER], key=lambda run: run.id)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"schema": 1, "sp',
        b"[]",
        b'{"schema": 1, "specs": []}',
        b"\xff",
        dump_spec(SPEC).encode(),
        dump_run(RUN).encode(),
    ],
    ids=range(7),
)
def test_a_spoilt_plan_of_a_stage_is_set_aside_and_said(tmp_path, data, capsys):
    store, path = DirectoryStore(tmp_path), tmp_path / "stages" / "first.json"
    store.write_stage("second", (SPEC,), {"purpose": "all"})
    path.write_bytes(data)
    stages = store.read_stages()
    assert stages["second"][0] == (SPEC,)
    assert stages["first"][0] == ()
    assert f"{path} cannot be read" in stages["first"][1]["purpose"]
    assert store.read_stage("first") is None
    assert "it is now first.json.unreadable" in capsys.readouterr().err
    assert path.with_name("first.json.unreadable").read_bytes() == data
    assert list(store.read_stages()) == ["second"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "tasks": [3]}'])
def test_a_spoilt_note_of_the_tasks_is_set_aside(tmp_path, text):
    store = DirectoryStore(tmp_path)
    (tmp_path / "task.json").write_text(text)
    store.write_task({"fingerprint": "a"})
    store.write_task({"fingerprint": "b"})
    assert [
        task["fingerprint"] for task in json.loads((tmp_path / "task.json").read_text())["tasks"]
    ] == ["a", "b"]
    assert (tmp_path / "task.json.unreadable").read_text() == text


@pytest.mark.parametrize(
    "change", [{"lr": math.inf}, {"num_params": math.nan}, {"size": 10**200}, {"size": "\ud800"}]
)
def test_a_run_that_a_file_cannot_hold_is_refused(tmp_path, change):
    with pytest.raises(
        isoflop.StoreError, match=f"plain finite numbers, but its {next(iter(change))} is"
    ):
        DirectoryStore(tmp_path).write_spec(replace(SPEC, **change))


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
