"""A store of one's own keeps the contract, and runs are trained, shown and fitted from it."""

import pytest

import isoflop
from extending.own_store import SQLiteStore
from isoflop.storage.status import stage_statuses
from storage.store_contract import StoreContract


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return SQLiteStore(tmp_path / "runs.sqlite")


@pytest.mark.train
def test_runs_are_trained_once_in_a_store_of_ones_own(tmp_path):
    from tasks import BUDGETS, mlp_task

    task, file = mlp_task(), tmp_path / "runs.sqlite"
    sweep = isoflop.plan(task, budgets=BUDGETS[:2])
    trained = isoflop.train(task, sweep, store=SQLiteStore(file), progress=False)
    again = SQLiteStore(file)
    recorded = []
    assert (
        isoflop.train(task, sweep, store=again, progress=False, on_record=recorded.append)
        == trained
    )
    assert recorded == []
    assert isoflop.read_runs(again) == sorted(trained, key=lambda run: run.id)
    (stage,) = stage_statuses(again)
    assert stage.num_runs == len(stage.ended) == len(sweep.specs)
