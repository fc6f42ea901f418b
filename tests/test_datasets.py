import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from isoflop import datasets
from isoflop.errors import DataError, StoreError

pooch = pytest.importorskip("pooch")

MARIN = """Name,parameter_count,throughput/total_tokens,eval/paloma/macro_loss,other
isoflop-1e+18-d512-L6-B32-comma-mix,1e8,2e9,3.1,x
isoflop-3e+18-d512-L6-B32-comma-mix,2e8,4e9,2.9,x
exp2166-scaling-ladder-comma-validation-optimal-1e+18-3e66cb,1.5e8,3e9,3.0,x
"""
GADRE = [
    {
        "name": f"rpj-{params}",
        "hyperparameters": {"params": params, "tokens": 20 * params},
        "results": [
            {"val_data": ["eval_data/openlm/shard.tar"], "loss": 1.0},
            {"val_data": ["eval_data/c4_val/shard-{0..10}.tar"], "loss": loss},
        ],
    }
    for params, loss in ((1e8, 3.5), (2e8, 3.2))
]
GEMSTONES = "\n".join(
    json.dumps(
        {
            "run_name": "a",
            "params_active_precise": 1e8,
            "tokens": tokens,
            "width": 64,
            "final_loss": loss,
        }
    )
    for tokens, loss in ((2e9, 3.3), (4e9, 3.1))
)
CS336 = [{"parameters": 1e8, "compute_budget": 6e18, "final_loss": 3.4}]
FILES: Mapping[str, list[str]] = {
    "chinchilla": ["Model Size,Training FLOP,loss\n1e8,1.2e18,3.1\n2e8,2.4e18,2.9\n"],
    "marin_comma": [MARIN],
    "marin_comma_optimal": [MARIN],
    "marin_dclm": [MARIN],
    "gadre": [json.dumps(made) for made in GADRE],
    "gemstones": [GEMSTONES],
    "gemstones_curves": [GEMSTONES],
    "cs336": [json.dumps(CS336)],
}
"""What each set's files look like, with rows of our own."""
RUNS = {
    "chinchilla": [(1e8, 2e9, 3.1, None), (2e8, 2e9, 2.9, None)],
    "marin_comma": [(1e8, 2e9, 3.1, 3e18), (2e8, 4e9, 2.9, 9e18)],
    "marin_comma_optimal": [(1.5e8, 3e9, 3.0, None)],
    "marin_dclm": [(1e8, 2e9, 3.1, 3e18), (2e8, 4e9, 2.9, 9e18)],
    "gadre": [(1e8, 2e9, 3.5, None), (2e8, 4e9, 3.2, None)],
    "gemstones": [(1e8, 2e9, 3.3, None), (1e8, 4e9, 3.1, None)],
    "gemstones_curves": [(1e8, 2e9, 3.3, None), (1e8, 4e9, 3.1, None)],
    "cs336": [(1e8, 1e10, 3.4, 6e18)],
}
"""Params, tokens, loss and budget of those rows."""


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)


@pytest.fixture
def placed(monkeypatch, tmp_path, offline):
    """Puts a set's files of our own into the cache, where they are taken for the published ones."""

    def place(name):
        texts = {f"{number}.txt": text.encode() for number, text in enumerate(FILES[name])}
        made = replace(
            datasets.DATASETS[name],
            files={file: hashlib.sha256(content).hexdigest() for file, content in texts.items()},
        )
        for file, content in texts.items():
            (tmp_path / made.cached(file)).write_bytes(content)
        monkeypatch.setattr(datasets, "DATASETS", {name: made})
        return [tmp_path / made.cached(file) for file in texts]

    return place


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_files_that_were_placed_are_read_without_a_network(name, placed, tmp_path):
    paths = placed(name)

    runs = datasets.load(name, folder=tmp_path)

    assert datasets.fetch(name, folder=tmp_path) == paths
    found = [(run.num_params, run.num_tokens, run.loss, run.budget) for run in runs]
    assert found == [pytest.approx(row) for row in RUNS[name]]


def test_without_a_network_one_sentence_says_where_to_place_the_file(
    offline, tmp_path, monkeypatch
):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))

    with pytest.raises(StoreError) as caught:
        datasets.fetch("chinchilla")

    wanted = datasets.DATASETS["chinchilla"]
    (file,) = wanted.files
    assert wanted.url(file) in str(caught.value)
    assert str(tmp_path / wanted.cached(file)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_file_than_the_published_one_is_not_used(placed, tmp_path):
    (path,) = placed("chinchilla")
    path.write_bytes(path.read_bytes().replace(b"3.1", b"1.3"))

    with pytest.raises(StoreError, match="Cannot fetch chinchilla"):
        datasets.fetch("chinchilla", folder=tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        DataError, match="There is no data set 'x'; there are chinchilla, marin_comma, "
    ):
        datasets.fetch("x")


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_addresses_name_one_commit_and_one_checksum_for_each_file(name):
    published = datasets.DATASETS[name]

    assert re.fullmatch(r"[\w-]+/[\w-]+/[0-9a-f]{40}/[\w/-]+", published.folder)
    assert published.files
    for file, checksum in published.files.items():
        assert published.url(file) == f"https://raw.githubusercontent.com/{published.folder}/{file}"
        assert re.fullmatch(r"[\w=.-]+\.(csv|jsonl?)", file)
        assert re.fullmatch(r"[0-9a-f]{64}", checksum)
