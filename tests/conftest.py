import importlib.util
import os
import re
import sys
from pathlib import Path

# One thread, as runs are trained: on a busy machine more are slower, and results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

sys.path.insert(0, str(Path(__file__).parent))

HAS_TORCH = importlib.util.find_spec("torch") is not None  # `make test-light` goes without it
NEEDS_TORCH = re.compile(
    r"(?m)^((import|from) (torch|tasks|golden_task)\b|from attack import hostile\b|pytestmark = pytest.mark.train$)"
)
if HAS_TORCH:
    import torch

    torch.set_num_threads(1)

TASK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tasks import mlp_task

task = mlp_task()
"""


def pytest_ignore_collect(collection_path):
    """True, without torch, for folders that are all about training and modules that need it."""
    if HAS_TORCH:
        return None
    if collection_path.is_dir():
        return collection_path.name in ("docs", "examples", "executors") or None
    return NEEDS_TORCH.search(collection_path.read_text()) is not None or None


def pytest_runtest_setup(item):
    """Without torch, tests that are marked `train` are skipped."""
    if not HAS_TORCH and item.get_closest_marker("train"):
        pytest.skip("needs torch")


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what tests/golden holds isoflop to anew",
    )


def pytest_collection_modifyitems(items):
    """Groups of tests that one worker runs (make test), the longest first: a file, or what uses the same resource."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: "training" not in item.path.parts)


def _group(item):
    """Ray starves where two clusters share two cores, and Chromium is started once."""
    if {"ray_cluster", "three_nodes"} & {*item.fixturenames} or "[ray-" in item.name:
        return "ray"
    return item.path.stem


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Exit code, stdout and stderr of a command in a folder with a task of its own."""
    from isoflop.cli import app as cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "owned", raising=False)
    Path("owned.py").write_text(TASK)

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return call
