"""The benchmarks are programs in folders of their own, which import each other by name."""

import sys
from pathlib import Path

import pytest

FOLDERS = [str(Path(__file__).parents[2] / "benchmarks" / name) for name in ("fitting", "proof")]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    before = set(sys.modules)
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(folder)
    yield
    for name in set(sys.modules) - before:  # names such as `tables` belong to the benchmarks alone
        if any(folder in str(getattr(sys.modules[name], "__file__", "")) for folder in FOLDERS):
            del sys.modules[name]
