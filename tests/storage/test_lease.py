import errno
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, replace

import pytest

import isoflop
from isoflop.storage import lease
from isoflop.storage.lease import holder_of, leased


def test_a_free_lease_is_taken_and_given_back(tmp_path):
    with leased(tmp_path, "a") as holder:
        assert holder is None
        assert [path.name for path in tmp_path.iterdir()] == ["lease-0"]
    assert list(tmp_path.iterdir()) == []


def test_another_session_is_told_who_has_the_lease(tmp_path):
    with leased(tmp_path, "a"), leased(tmp_path, "b") as holder:
        assert f"process {os.getpid()} on " in holder
    with leased(tmp_path, "b") as holder:
        assert holder is None


def test_the_same_session_takes_the_lease_over(tmp_path):
    with leased(tmp_path, "a"):
        with leased(tmp_path, "a") as holder:
            assert holder is None
            assert [path.name for path in tmp_path.iterdir()] == ["lease-1"]
        with leased(tmp_path, "b") as holder:
            assert holder is None


HOLD = """
import sys, time
from pathlib import Path
from isoflop.storage.lease import holder_of, leased
with leased(Path(sys.argv[1]), "other") as holder:
    print(holder, flush=True)
    time.sleep(600)
"""


def test_the_lease_of_a_killed_process_of_this_machine_is_free_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "None\n"
        with leased(tmp_path, "mine") as holder:
            assert f"process {process.pid} on " in holder
        process.send_signal(signal.SIGKILL)
        process.wait()
    with leased(tmp_path, "mine") as holder:
        assert holder is None


def write(path, **changes):
    me = replace(lease._me("other"), **changes)
    path.write_text(json.dumps(asdict(me)))


def test_a_later_process_with_the_same_number_does_not_hold_the_lease(tmp_path):
    write(tmp_path / "lease-3", started="17")
    with leased(tmp_path, "mine") as holder:
        assert holder is None
        assert [path.name for path in tmp_path.iterdir()] == ["lease-4"]


def test_the_lease_of_another_machine_is_free_when_its_heartbeat_has_stopped(tmp_path):
    path = tmp_path / "lease-0"
    write(path, host="far", machine="far 1", pid=17)
    with leased(tmp_path, "mine") as holder:
        assert holder.startswith("process 17 on far since 20")
    os.utime(path, times=(time.time() - lease.STALE_SECONDS - 1,) * 2)
    with leased(tmp_path, "mine") as holder:
        assert holder is None


def test_a_held_lease_has_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with leased(tmp_path, "a"):
        path = tmp_path / "lease-0"
        os.utime(path, times=(0, 0))
        end = time.monotonic() + 10
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_process_that_slept_too_long_leaves_the_thief_alone(tmp_path):
    with ExitStack() as thief:
        with leased(tmp_path, "sleeper"):
            write(tmp_path / "lease-0", host="far", machine="far 1")
            os.utime(tmp_path / "lease-0", times=(0, 0))
            assert thief.enter_context(leased(tmp_path, "thief")) is None
        with leased(tmp_path, "third") as holder:
            assert holder is not None


def test_of_many_threads_that_take_a_stale_lease_at_once_one_has_it(tmp_path):
    for round_ in range(20):
        folder = tmp_path / str(round_)
        folder.mkdir()
        write(folder / "lease-0", started="17")
        barrier, taken, over = threading.Barrier(8), [], threading.Event()

        def contend(name, folder=folder, barrier=barrier, taken=taken, over=over):
            barrier.wait()
            with leased(folder, name) as holder:
                taken.append(holder is None)
                over.wait(10)

        threads = [threading.Thread(target=contend, args=(str(k),)) for k in range(8)]
        for thread in threads:
            thread.start()
        while len(taken) < 8:
            time.sleep(0.001)
        over.set()
        for thread in threads:
            thread.join()
        assert sum(taken) == 1


@pytest.mark.parametrize(
    "kind", ["empty", "torn", "foreign", "mistyped", "bytes", "folder", "dangling link"]
)
def test_a_lease_that_names_nobody_is_held_until_its_heartbeat_has_stopped(tmp_path, kind):
    path = tmp_path / "lease-7"
    data = {
        "torn": b'{"host": "fa',
        "foreign": b"[3]",
        "mistyped": b'{"pid": "17"}',
        "bytes": b"\xff\x00",
    }
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("/nowhere/at/all")
    else:
        path.write_bytes(data.get(kind, b""))
    with leased(tmp_path, "mine") as holder:
        assert holder == "a process that its lease does not name"
    assert holder_of(tmp_path) == holder
    os.utime(path, times=(time.time() - lease.STALE_SECONDS - 1,) * 2, follow_symlinks=False)
    assert holder_of(tmp_path) is None
    with leased(tmp_path, "mine") as holder:
        assert holder is None
        assert (tmp_path / "lease-8").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"pid": "17"},
        {"pid": 10**30},
        {"pid": -1},
        {"since": "now"},
        {"since": 1e300},
        {"host": None},
        {"session": 3},
    ],
)
def test_a_holder_that_cannot_be_is_nobody(tmp_path, change):
    write(tmp_path / "lease-0", **change)
    assert lease._read(tmp_path / "lease-0").pid == 0


def test_names_that_are_no_leases_are_left_alone(tmp_path):
    for name in ("lease-", "lease-²", "lease-x", "lease-1.old", ".lease-5"):
        (tmp_path / name).write_text("")
    with leased(tmp_path, "mine") as holder:
        assert holder is None
        assert (tmp_path / "lease-0").exists()
    assert len(list(tmp_path.iterdir())) == 5


def test_a_lease_dated_ahead_is_free_once_its_date_has_stood_still(tmp_path, monkeypatch):
    path, year = tmp_path / "lease-0", 365 * 86400
    write(path, host="far", machine="far 1", pid=17)
    os.utime(path, times=(time.time() + year,) * 2)
    clock = iter([0.0, 30.0, 59.0, 89.0, 117.0, 120.0])
    monkeypatch.setattr(lease.time, "monotonic", lambda: next(clock))

    def held():
        with leased(tmp_path, "mine") as holder:
            return holder is not None

    assert [held(), held()] == [True, True]
    os.utime(path, times=(time.time() + year + 10,) * 2)  # a heartbeat, by a clock that goes ahead
    assert [held(), held(), held()] == [True, True, True]
    assert not held()


@pytest.fixture
def linkless(monkeypatch):
    """A disk without hard links, as network drives and FUSE have it."""

    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


def test_a_disk_without_hard_links_has_leases_too(tmp_path, linkless):
    with leased(tmp_path, "a") as first, leased(tmp_path, "b") as second:
        assert first is None
        assert f"process {os.getpid()} on " in second
        assert [path.name for path in tmp_path.iterdir()] == ["lease-0"]
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "lease-3", started="17")
    with leased(tmp_path, "mine") as holder:
        assert holder is None


def test_of_many_threads_without_hard_links_one_has_the_lease(tmp_path, linkless):
    test_of_many_threads_that_take_a_stale_lease_at_once_one_has_it(tmp_path)


def test_a_full_disk_without_hard_links_leaves_no_empty_lease(tmp_path, linkless, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    offer = tmp_path / "offer"
    offer.write_text("text")
    monkeypatch.setattr(lease.Path, "read_text", full)
    with pytest.raises(OSError, match="No space"):
        lease._give(offer, tmp_path / "lease-0")
    assert not (tmp_path / "lease-0").exists()


def test_a_heartbeat_is_kept_up_on_a_disk_that_lets_nobody_set_dates(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "lease-0"
    path.write_text("mine")
    os.utime(path, times=(0, 0))
    monkeypatch.setattr(os, "utime", refuse)
    lease._touch(path)
    assert path.stat().st_mtime > 0
    assert path.read_text() == "mine"


def test_a_holder_says_since_when_it_holds(tmp_path):
    before = time.time()
    with leased(tmp_path, "a"):
        assert before <= lease._read(tmp_path / "lease-0").since <= time.time()
        assert re.search(
            r"process \d+ on .* since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", holder_of(tmp_path)
        )


def contend_for(folder, name, count):
    """Hold the lease again and again; nobody else may be inside meanwhile."""
    from pathlib import Path

    inside = Path(folder).parent / "inside"
    for _ in range(count):
        with leased(Path(folder), name) as holder:
            if holder is None:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                time.sleep(0.001)
                inside.unlink()


def test_processes_that_contend_for_a_lease_are_never_inside_together(tmp_path):
    context = multiprocessing.get_context("spawn")
    folder = str(tmp_path / "run")
    processes = [context.Process(target=contend_for, args=(folder, str(k), 150)) for k in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(isoflop.StoreError, match="Cannot write"), leased(tmp_path / "run", "a"):
        pass


def test_a_store_where_a_file_stands_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(isoflop.StoreError, match="Cannot write"), leased(tmp_path / "run", "a"):
        pass
