import hashlib
import re
from dataclasses import replace

import pytest

from isoflop import datasets
from isoflop.errors import DataError, StoreError

pooch = pytest.importorskip("pooch")

TABLE = b"Model Size,Training FLOP,loss\n1e8,1.2e18,3.1\n2e8,2.4e18,2.9\n"


@pytest.fixture
def small(monkeypatch):
    """A data set whose file is known, in place of a published one."""
    made = replace(datasets.DATASETS["chinchilla"], sha256=hashlib.sha256(TABLE).hexdigest())
    monkeypatch.setattr(datasets, "DATASETS", {"chinchilla": made})
    return made


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)


def test_a_file_that_was_placed_is_used_without_a_network(small, offline, tmp_path):
    (tmp_path / small.file_name).write_bytes(TABLE)

    runs = datasets.load("chinchilla", folder=tmp_path)

    assert datasets.fetch("chinchilla", folder=tmp_path) == tmp_path / small.file_name
    assert [(run.num_params, run.num_tokens, run.loss) for run in runs] == [(1e8, 2e9, 3.1), (2e8, 2e9, 2.9)]


def test_without_a_network_one_sentence_says_where_to_place_the_file(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))

    with pytest.raises(StoreError) as caught:
        datasets.fetch("chinchilla")

    wanted = datasets.DATASETS["chinchilla"]
    assert all(part in str(caught.value) for part in (wanted.url, str(tmp_path / wanted.file_name), wanted.sha256))
    assert "\n" not in str(caught.value)


def test_another_file_than_the_published_one_is_not_used(small, offline, tmp_path):
    (tmp_path / small.file_name).write_bytes(TABLE.replace(b"3.1", b"1.3"))

    with pytest.raises(StoreError, match="Cannot fetch chinchilla"):
        datasets.fetch("chinchilla", folder=tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="There is no data set 'x'; there are chinchilla, marin_comma, marin_dclm"):
        datasets.fetch("x")


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_addresses_name_one_commit_and_one_checksum(name):
    published = datasets.DATASETS[name]

    assert re.fullmatch(r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/[\w/.-]+\.csv", published.url)
    assert re.fullmatch(r"[0-9a-f]{64}", published.sha256)
