import gc
import weakref
from dataclasses import replace

import isoflop
from isoflop.per_task import per_task
from tasks import examples, mlp_task


def test_a_result_is_computed_once_per_task_and_arguments():
    calls = []

    @per_task
    def added(task, number):
        calls.append(number)
        return number + 1

    first = mlp_task()
    assert [added(first, 1), added(first, 1), added(first, 2), added(replace(first), 1)] == [
        2,
        2,
        3,
        2,
    ]
    assert calls == [1, 2, 1]


def test_data_sets_are_freed_with_their_task():
    task = mlp_task(train_data=examples(4000))
    data = weakref.ref(task.train_data)
    isoflop.plan(task, budgets=[3e8])
    isoflop.fingerprint(task)
    del task
    gc.collect()
    assert data() is None
