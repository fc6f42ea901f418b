"""The benchmarks are programs in a folder of their own, which import each other by name."""

import sys
from pathlib import Path

import pytest

FITTING = Path(__file__).parents[2] / "benchmarks" / "fitting"


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FITTING))
    yield
    for name in set(sys.modules) - before:  # names such as `tables` belong to the benchmarks alone
        if str(FITTING) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
