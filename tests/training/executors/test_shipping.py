"""What workers read is what the caller has, whatever files say by then."""

import importlib
import pickle
import sys
import threading

import pytest
import torch

import isoflop
from isoflop.training.data_worker import Jobs
from isoflop.training.executors.serialization import dump_work
from isoflop.training.executors.work import TaskWork
from isoflop.user_code.data import Source
from tasks import mlp_task

MODULE = """
import threading

from torch import nn

GAIN = 1.0
{more}

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, width), nn.Linear(width, 4)

    def forward(self, x):
        return self.out(self.hidden(x)) * GAIN{use}


def gain(key):
    return key * GAIN
"""
WITH_LOCK = {"more": "LOCK = threading.Lock()", "use": " * (not LOCK.locked())"}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A function that imports a module of the user's; what reading changes in the process is set back."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)

    def make(more="", use=""):
        (tmp_path / "shipped.py").write_text(MODULE.format(more=more, use=use))
        importlib.invalidate_caches()
        return importlib.import_module("shipped")

    make.path = tmp_path / "shipped.py"
    yield make
    sys.modules.pop("shipped", None)


def outputs(work):
    torch.manual_seed(0)
    return work.task.model(4)(torch.ones(2, 8)).tolist()


def edit(path, old="GAIN = 1.0", new="GAIN = 5.0"):
    path.write_text(path.read_text().replace(old, new))
    sys.modules.pop("shipped", None)  # as in a process of its own
    importlib.invalidate_caches()


def test_code_and_values_that_the_program_has_set_travel(shipped):
    module = shipped()
    module.GAIN = 2.0
    work = TaskWork(mlp_task(model=module.Net), isoflop.MemoryStore())
    payload = dump_work(work)
    edit(shipped.path)
    assert outputs(pickle.loads(payload)) == outputs(work)


def test_what_cannot_travel_is_imported_from_the_text_that_was_imported(shipped):
    work = TaskWork(mlp_task(model=shipped(**WITH_LOCK).Net), isoflop.MemoryStore())
    payload = dump_work(work)
    edit(shipped.path)
    assert outputs(pickle.loads(payload)) == outputs(work)
    assert sys.modules["shipped"].GAIN == 1.0


def test_what_cannot_travel_and_was_changed_by_the_program_is_refused(shipped):
    module = shipped(**WITH_LOCK)
    module.GAIN = 2.0
    payload = dump_work(TaskWork(mlp_task(model=module.Net), isoflop.MemoryStore()))
    edit(shipped.path)
    with pytest.raises(
        isoflop.ContractError, match="must be here what they are in the program that sent it"
    ):
        pickle.loads(payload)


def test_a_task_that_cannot_travel_at_all_is_refused():
    with pytest.raises(isoflop.PlanError, match="cannot be pickled .*'_thread.lock' object"):
        dump_work(TaskWork(mlp_task(train_data=[(threading.Lock(), 1)]), isoflop.MemoryStore()))


def test_readers_that_are_not_forked_have_the_callers_code(shipped):
    module = shipped()
    module.GAIN = 2.0
    source = Source("examples", [1.0], module.gain, 1, "train_data")
    payload = pickle.dumps(Jobs(source, torch.zeros(())))
    edit(shipped.path)
    assert pickle.loads(payload).source.collate(3) == 6.0
