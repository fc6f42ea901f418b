"""An executor or a store is added in one file; nothing else of the library changes."""

import isoflop
from extending.own_executor import SmallestFirst
from extending.own_store import SQLiteStore
from tasks import mlp_task


def sweep_of(task):
    return isoflop.plan(task, budgets=[1e6, 2e6])


def test_an_executor_of_ones_own_trains_a_sweep_to_the_same_losses_in_its_order():
    task, recorded = mlp_task(), []
    sweep, store = sweep_of(task), isoflop.MemoryStore()
    runs = isoflop.train(
        task,
        sweep,
        store=store,
        executor=SmallestFirst(),
        on_record=recorded.append,
        progress=False,
    )
    spent = [run.spec.flops for run in recorded]
    assert spent == sorted(spent)
    assert [run.id for run in runs] == [spec.id for spec in sweep.specs]
    usual = isoflop.train(task, sweep, store=isoflop.MemoryStore(), progress=False)
    assert [run.loss for run in runs] == [run.loss for run in usual]


def test_a_store_of_ones_own_answers_again_without_training(tmp_path):
    path = tmp_path / "runs.sqlite"
    question = {"budgets": [1e6, 2e6, 4e6], "target": 1e8}
    first = isoflop.find_optimal(mlp_task(), **question, store=SQLiteStore(path))
    runs = SQLiteStore(path).read_runs()
    assert runs
    assert all(run.status == "completed" and run.curve for run in runs)
    again = isoflop.find_optimal(
        mlp_task(), **question, store=SQLiteStore(path), executor=Refusing()
    )
    assert str(again) == str(first)


class Refusing:
    """An executor that has nothing to train."""

    def map(self, work, specs):
        assert not specs
        return []
