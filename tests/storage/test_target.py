"""Writing pages and exports to what is there already: links, devices, pipes, folders, files with modes of their own."""

import os
import stat
import threading

import pytest

import isoflop
from isoflop.storage.atomic import write_text
from isoflop.storage.target import keep_mode


def test_a_device_is_written_to_and_stays_one():
    write_text(os.devnull, "page")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_device_that_takes_no_more_is_said():
    with pytest.raises(isoflop.StoreError, match="Cannot write to /dev/full: No space left"):
        write_text("/dev/full", "page" * 10_000)


def test_a_pipe_is_written_to_whoever_reads_it(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    while not read and reader.is_alive():
        try:
            write_text(path, "page" * 100_000)
            break
        except isoflop.StoreError:  # the reader has not come yet
            continue
    reader.join(20)
    assert read == [b"page" * 100_000]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(isoflop.StoreError, match="choose a file instead"):
        write_text(tmp_path / "pipe", "page")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays_a_link(tmp_path, there):
    target, link = tmp_path / "pages" / "page.html", tmp_path / "latest.html"
    if there:
        write_text(target, "old")
    link.symlink_to(target)
    assert write_text(link, "new") == link
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["page.html"]


def test_a_link_to_a_device_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to(os.devnull)
    write_text(tmp_path / "link", "page")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = write_text(tmp_path / "page", "old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner(tmp_path):
    path = write_text(tmp_path / "page", "old")
    os.chown(path, 1234, 4321)
    path.chmod(0o600)
    write_text(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o600)


def test_a_disk_without_modes_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    path = write_text(tmp_path / "page", "old")
    monkeypatch.setattr(os, "fchmod", refuse)
    write_text(path, "new")
    monkeypatch.delattr(os, "fchmod")
    with open(tmp_path / "other", "wb") as file:
        keep_mode(file, path)
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["folder", "link"])
def test_a_folder_is_refused_in_a_sentence(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(isoflop.StoreError, match=f"{name} is a folder; name a file in it"):
        write_text(tmp_path / name, "page")


def test_letters_that_no_file_can_hold_are_spelt_out(tmp_path):
    assert write_text(tmp_path / "page", "a\ud800b").read_text() == r"a\ud800b"
